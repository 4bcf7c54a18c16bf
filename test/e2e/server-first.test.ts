import { chown, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTestAuthority } from '../support/identities.ts';
import type { Mesh } from '../support/mesh.ts';
import { startMesh } from '../support/mesh.ts';
import type { RunningProgram } from '../support/pods.ts';
import { isOnPath, noPodsBecause, runningProgram } from '../support/pods.ts';

/*
 * Goal: protocols whose server speaks first work in a PERMISSIVE mesh with nothing configured, for clients without a sidecar
 * and for those with one, and a hang is no part of it. Method: a real MariaDB and a real NATS in one pod, their clients in
 * two others; what came first is read from what each side wrote, not from a clock.
 */
const pods = {
  web: { v4: '10.77.0.11', v6: 'fd77::11', isMeshed: true },
  api: { v4: '10.77.0.12', v6: 'fd77::12', isMeshed: true },
  legacy: { v4: '10.77.0.13', v6: 'fd77::13', isMeshed: false },
} as const;
type Name = keyof typeof pods;

const appUser = { uid: 1000 };
const missing = ['mariadbd', 'mariadb', 'nats-server'].filter((tool) => !isOnPath(tool));
const noServersBecause = noPodsBecause ?? (missing.length > 0 ? `needs ${missing.join(', ')}` : undefined);
const ports = { mariadb: 3306, nats: 4222 };
const clients = [
  ['a pod without a sidecar', 'legacy', 'plaintext'],
  ['a pod of the mesh', 'web', 'hbone'],
] as const;

describe.skipIf(noServersBecause !== undefined)(`servers that speak first ${noServersBecause ?? ''}`, () => {
  let mesh: Mesh<Name>;

  beforeAll(async () => {
    mesh = await startMesh<Name>({ pods, services: [], mode: 'PERMISSIVE' });
    const database = join(mesh.folder, 'database');
    await mkdir(database);
    await chown(database, appUser.uid, appUser.uid);
    await writeCertificate(mesh.folder);
    const mariadb = serve('mariadbd', [
      '--no-defaults',
      ...[`--datadir=${database}`, `--socket=${database}/socket`, `--port=${ports.mariadb}`, '--bind-address=*'],
      ...['--skip-grant-tables', '--skip-name-resolve', '--innodb-buffer-pool-size=8M', '--innodb-log-file-size=8M'],
      ...[`--ssl-cert=${mesh.folder}/own.pem`, `--ssl-key=${mesh.folder}/own.key`],
    ]);
    const nats = serve('nats-server', ['--addr', '0.0.0.0', '--port', String(ports.nats)]);
    await mariadb.line((line) => line.includes('ready for connections'));
    await nats.line((line) => line.includes('Server is ready'));
  }, 120_000);
  afterAll(() => mesh?.close());

  /** A server in the pod `api`; what it writes to standard error are its lines. */
  const serve = (program: string, args: readonly string[]): RunningProgram =>
    runningProgram(mesh.pods.api.exec(['sh', '-c', 'exec "$@" 2>&1', '-', program, ...args], appUser));

  const query = async (from: Name, sql: string, ...options: string[]): Promise<string> => {
    const host = ['--host', pods.api.v4, '--port', String(ports.mariadb), '--protocol', 'tcp'];
    const args = ['--no-defaults', ...host, '--batch', '--skip-column-names', ...options, '--execute', sql];
    const client = runningProgram(
      mesh.pods[from].exec(['sh', '-c', 'exec "$@" 2>&1', '-', 'mariadb', ...args], appUser),
    );
    return client.line(() => true);
  };
  /** The next line about a connection that was carried to this port of `api`. */
  const carried = async (port: number, transport: string): Promise<Record<string, unknown>> => {
    const parts = [`"originalDestination":"${pods.api.v4}:${port}"`, '"inbound"', `"transport":"${transport}"`];
    return JSON.parse((await mesh.agents.api?.line((line) => parts.every((part) => line.includes(part)))) ?? '{}');
  };

  it.each(clients)('T15: MariaDB answers %s', async (_name, from, transport) => {
    expect(await query(from, "SELECT CONCAT('an', 'swer')")).toBe('answer');
    expect(await carried(ports.mariadb, transport)).toMatchObject({ outcome: 'closed', reason: 'eof' });
  });

  it.each(clients)(
    'T15: MariaDB answers %s in the TLS of its own, which begins after its greeting',
    async (_name, from) => {
      expect(await query(from, "SHOW STATUS LIKE 'Ssl_version'", '--ssl')).toBe('Ssl_version\tTLSv1.3');
    },
  );

  it('T15: MariaDB answers one client after the other', async () => {
    for (let i = 0; i < 10; i += 1) expect(await query('legacy', `SELECT ${i} + 1`)).toBe(`${i + 1}`);
  });

  it.each(clients)('T15: NATS is heard before it is spoken to by %s', async (_name, from, transport) => {
    for (let i = 0; i < 3; i += 1) {
      const args = [pods.api.v4, String(ports.nats)];
      const client = mesh.pods[from].start('test/support/pod-programs/nats-client.ts', args);
      await client.line((line) => line.includes('"ended"'));
      expect(client.lines.map((line) => Object.values(JSON.parse(line)).join(' '))).toEqual([
        'connected',
        'heard INFO',
        'said CONNECT',
        'heard MSG greetings 1 5',
        'heard hello',
        'said PING',
        'heard PONG',
        'ended',
      ]);
    }
    expect(await carried(ports.nats, transport)).toMatchObject({ outcome: 'closed', reason: 'eof' });
  });
});

/** The certificate that the database shows; it has nothing to do with the mesh. */
async function writeCertificate(folder: string): Promise<void> {
  const { key, certPem } = createTestAuthority('elsewhere.example').issue({ id: 'ns/shop/sa/database' });
  await writeFile(join(folder, 'own.pem'), certPem);
  await writeFile(join(folder, 'own.key'), key.export({ type: 'pkcs8', format: 'pem' }));
}
