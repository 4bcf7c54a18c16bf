import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Mode } from '../../src/policy/mode.ts';
import type { Mesh } from '../support/mesh.ts';
import { startMesh } from '../support/mesh.ts';
import type { RunningProgram } from '../support/pods.ts';
import { noPodsBecause } from '../support/pods.ts';

/*
 * Goal: one edit of one YAML file changes the mode of a running mesh, in both directions. Loosening disturbs nothing;
 * tightening cuts what it no longer permits, and nothing else. Peers follow: what is DISABLE is dialled in plaintext.
 * Method: `web` and `api` have sidecars, `legacy` has none; the PeerAuthentication of the registry is edited meanwhile.
 */
const pods = {
  web: { v4: '10.77.0.11', v6: 'fd77::11', isMeshed: true },
  api: { v4: '10.77.0.12', v6: 'fd77::12', isMeshed: true },
  legacy: { v4: '10.77.0.13', v6: 'fd77::13', isMeshed: false },
} as const;
type Name = keyof typeof pods;
const patience = { timeout: 30_000, interval: 200 };

describe.skipIf(noPodsBecause !== undefined)(`the mode of a running mesh ${noPodsBecause ?? ''}`, () => {
  let mesh: Mesh<Name>;
  let fromWeb: RunningProgram;
  let fromLegacy: RunningProgram;

  const start = (from: Name, manner: string, host: string = pods.api.v4) =>
    mesh.pods[from].start('test/support/pod-programs/client.ts', [manner, host, '7001']);
  const ask = async (from: Name, host?: string) =>
    JSON.parse(await start(from, 'ask', host).line((line) => line.startsWith('{')));
  const connected = async (from: Name) => {
    const program = start(from, 'long');
    await program.line((line) => line.includes('"connected"'));
    return program;
  };
  const echoes = async (program: RunningProgram, word: string) => {
    program.process.stdin?.write(`${word}\n`);
    return JSON.parse(await program.line((line) => line.includes(word)));
  };
  const logged = async (name: Name, ...parts: string[]): Promise<Record<string, unknown>> => {
    const line = await mesh.agents[name]?.line((one) => parts.every((part) => one.includes(part)));
    return JSON.parse(line ?? '{}');
  };
  const edit = async (from: Mode, to: Mode) => {
    const file = join(mesh.folder, 'registry', 'mesh.yaml');
    const text = await readFile(file, 'utf8');
    const edited = text.replace(`"mode":"${from}"`, `"mode":"${to}"`);
    expect(edited).not.toBe(text);
    // Not below the registry, which would read it.
    await writeFile(join(mesh.folder, 'draft.yaml'), edited);
    await rename(join(mesh.folder, 'draft.yaml'), file);
    const shown = `remora_mode_info{port="*",mode="${to}"} 1`;
    for (const name of ['web', 'api'] as const)
      await expect.poll(() => mesh.metrics(name), { ...patience, message: `${to} in ${name}` }).toContain(shown);
  };

  beforeAll(async () => {
    mesh = await startMesh<Name>({
      pods,
      services: [{ name: 'api', v4: '10.96.0.10', v6: 'fd96::10', pods: ['api'], ports: [7001] }],
    });
    const api = mesh.pods.api.start('test/support/pod-programs/server.ts', ['0.0.0.0', '::']);
    await api.line((line) => line === 'ready');
  }, 120_000);
  afterAll(() => mesh?.close());

  it('is STRICT: a peer without a sidecar is refused', async () => {
    expect(await ask('legacy')).toMatchObject({ text: '' });
    await logged('api', '"plaintext_in_strict"');
    fromWeb = await connected('web');
    expect(await echoes(fromWeb, 'one')).toEqual({ echo: 'one' });
  });

  it('becomes PERMISSIVE: that peer is served, and nobody else notices', async () => {
    await edit('STRICT', 'PERMISSIVE');
    expect(await ask('legacy')).toEqual({ text: 'hello', ended: 'end' });
    expect(await ask('legacy', pods.api.v6)).toEqual({ text: 'hello', ended: 'end' });
    fromLegacy = await connected('legacy');
    expect(await echoes(fromLegacy, 'two')).toEqual({ echo: 'two' });
    expect(await echoes(fromWeb, 'three')).toEqual({ echo: 'three' });
    expect(await ask('web')).toEqual({ text: 'hello', ended: 'end' });
  });

  it('becomes STRICT again: what is plaintext is cut as policy_change, and mutual TLS goes on', async () => {
    await edit('PERMISSIVE', 'STRICT');
    expect(JSON.parse(await fromLegacy.line((line) => line.includes('"ended"')))).toMatchObject({
      ended: 'ECONNRESET',
    });
    expect(await logged('api', '"policy_change"')).toMatchObject({ direction: 'inbound', security: 'plaintext' });
    expect(await ask('legacy')).toMatchObject({ text: '' });
    expect(await echoes(fromWeb, 'four')).toEqual({ echo: 'four' });
  });

  it('becomes DISABLE: peers dial in plaintext, what is mutual TLS goes on, and back again', async () => {
    await edit('STRICT', 'DISABLE');
    const isPlaintext = () =>
      mesh.agents.web?.lines.some((line) => line.includes('"outbound"') && line.includes('"plaintext"'));
    await expect
      .poll(async () => [await ask('web'), isPlaintext()], patience)
      .toEqual([{ text: 'hello', ended: 'end' }, true]);
    expect(await ask('legacy')).toEqual({ text: 'hello', ended: 'end' });
    expect(await echoes(fromWeb, 'five')).toEqual({ echo: 'five' });
    await edit('DISABLE', 'STRICT');
    await expect.poll(() => ask('web'), patience).toEqual({ text: 'hello', ended: 'end' });
    expect(await ask('legacy')).toMatchObject({ text: '' });
  });
});
