import { once } from 'node:events';
import process from 'node:process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import type { Mesh } from '../support/mesh.ts';
import { startMesh } from '../support/mesh.ts';
import type { RunningProgram } from '../support/pods.ts';
import { noPodsBecause } from '../support/pods.ts';

/*
 * Goal: a sidecar starts, renews and stops without losing what it carries, and fails closed when it is gone.
 * Method: the real program in network namespaces, with certificates of 20 seconds, stopped by real signals under traffic.
 */
const pods = {
  web: { v4: '10.77.0.11', v6: 'fd77::11', isMeshed: true },
  api: { v4: '10.77.0.12', v6: 'fd77::12', isMeshed: true },
} as const;
type Name = keyof typeof pods;
const server = 'test/support/pod-programs/server.ts';

describe.skipIf(noPodsBecause !== undefined)(`the life of a sidecar ${noPodsBecause ?? ''}`, () => {
  let mesh: Mesh<Name>;

  beforeAll(async () => {
    mesh = await startMesh<Name>({ pods, services: [], certificateLifetime: '20s' });
    for (const name of ['web', 'api'] as const)
      await mesh.pods[name].start(server, ['0.0.0.0']).line((line) => line === 'ready');
  }, 120_000);
  afterAll(() => mesh?.close());

  const start = (manner: string, port: number, number = 1) =>
    mesh.pods.web.start('test/support/pod-programs/client.ts', [manner, pods.api.v4, String(port), String(number)]);
  const result = async (program: RunningProgram) =>
    JSON.parse(await program.line((line) => line.startsWith('{') && !line.includes('started')));
  const agent = (name: Name): RunningProgram => {
    const running = mesh.agents[name];
    if (running === undefined) throw new Error(`${name} has no sidecar`);
    return running;
  };
  const exitOf = async (program: RunningProgram): Promise<number | null> => {
    if (program.process.exitCode !== null) return program.process.exitCode;
    const [code] = (await once(program.process, 'exit')) as [number | null];
    return code;
  };
  /** The first line of a sidecar from now on that holds this. */
  const nextLine = (name: Name, text: string) => {
    const { lines, line } = agent(name);
    const from = lines.length;
    return line(() => lines.slice(from).some((candidate) => candidate.includes(text)));
  };
  /** Says one thing over a new connection and prints what comes back; in less time than it takes to start Node.js. */
  const saying = (text: string, host: string) =>
    `timeout 20 bash -c 'exec 3<>/dev/tcp/${host}/7001 && echo ${text} >&3 && head -n 1 <&3'`;
  const say = (text: string) => mesh.pods.web.sh(saying(text, pods.api.v4));
  /** A connection that is open and has moved bytes both ways. */
  const openLong = async () => {
    const program = start('long', 7001);
    await program.line((line) => line.includes('connected'));
    program.process.stdin?.write('first\n');
    await program.line((line) => line.includes('"echo":"first"'));
    return program;
  };

  it('R1: renews its certificate again and again while connections go on, each with a new key', async () => {
    const long = await openLong();
    const renewals = (name: Name) => agent(name).lines.filter((line) => line.includes('"Identity renewed"'));
    await agent('web').line((line) => line.includes('"Identity renewed"') && JSON.parse(line).generation >= 3);
    await agent('api').line((line) => line.includes('"Identity renewed"') && JSON.parse(line).generation >= 3);
    const serials = renewals('web').map((line) => JSON.parse(line).serial);
    expect(new Set(serials).size).toBe(serials.length);
    long.process.stdin?.write('after the renewals\n');
    await long.line((line) => line.includes('"echo":"after the renewals"'));
    expect(await result(start('ask', 7001))).toEqual({ text: 'hello', ended: 'end' });
    long.process.stdin?.end();
    await long.line((line) => line.includes('"ended":"end"'));
  });

  it('N26: carries a connection beyond the ends of the certificates that it began with, without any grace', async () => {
    for (const name of ['web', 'api'] as const) await stopAndStart(name, ['--peer-certificate-grace', '0s']);
    const long = await openLong();
    for (let renewal = 1; renewal <= 3; renewal += 1) {
      await Promise.all([nextLine('web', '"Identity renewed"'), nextLine('api', '"Identity renewed"')]);
      long.process.stdin?.write(`after renewal ${renewal}\n`);
      await long.line((line) => line.includes(`"echo":"after renewal ${renewal}"`));
    }
    // Twenty seconds from when it was opened its first certificates have ended, and the third renewal is half of that later.
    long.process.stdin?.end();
    await long.line((line) => line.includes('"ended":"end"'));
    const proved = await mesh.pods.api.sh(`curl -sS http://${pods.api.v4}:15020/metrics`);
    expect(proved).toMatch(/^remora_proof_renewals_total\{direction="inbound",result="renewed"\} [1-9]/m);
    for (const name of ['web', 'api'] as const) await stopAndStart(name, []);
  });

  it('K1: stops in order: not ready, new connections for the drain delay, then only those that are open and outbound, then 0', async () => {
    await stopAndStart('api', ['--drain-delay', '5s']);
    const long = await openLong();
    agent('api').process.kill('SIGTERM');
    await agent('api').line((line) => line.includes('"Not ready"') && line.includes('not_draining'));
    expect(await mesh.pods.control.sh(`curl -sS http://${pods.api.v4}:15021/healthz/ready`)).toContain('not_draining');
    expect(await say('in the delay')).toBe('in the delay\n');
    expect(agent('api').lines.some((line) => line.includes('"Draining"'))).toBe(false);
    await agent('api').line((line) => line.includes('"Draining"'));
    await expect(say('too late')).rejects.toThrow(/reset|refused/);
    // A tunnel, and what is captured.
    const closed = [15008, 7001].map((port) => `${pods.api.v4}:${port}`);
    const refused = closed.map((target) => ({ target, failed: 'ECONNREFUSED' }));
    expect(await mesh.pods.control.dial(closed)).toEqual(refused);
    expect(await mesh.pods.api.sh(saying('outbound', pods.web.v4))).toBe('outbound\n');
    long.process.stdin?.write('still here\n');
    await long.line((line) => line.includes('"echo":"still here"'));
    long.process.stdin?.end();
    await long.line((line) => line.includes('"ended":"end"'));
    expect(await exitOf(agent('api'))).toBe(0);
    expect(agent('api').lines.at(-1)).toContain('"forced":0');
    await mesh.startAgent('api');
  });

  it('K2: goes on with what it carries when its identity lapses in the drain, with a control plane that is silent', async () => {
    await stopAndStart('api', ['--drain-deadline', '10m']);
    const long = await openLong();
    agent('api').process.kill('SIGTERM');
    await agent('api').line((line) => line.includes('"Draining"'));
    expect(await mesh.pods.api.sh(saying('known from now on', pods.web.v4))).toBe('known from now on\n');
    await nextLine('api', '"Identity renewed"');
    mesh.controlPlane.process.kill('SIGSTOP');
    const dialling = mesh.pods.api.start('test/support/pod-programs/dial-loop.ts', [`${pods.web.v4}:7001`]);
    await nextLine('api', '"identity_expired"');
    await dialling.stop();
    long.process.stdin?.write('still here\n');
    await long.line((line) => line.includes('"echo":"still here"'));
    long.process.stdin?.end();
    await long.line((line) => line.includes('"ended":"end"'));
    expect(await exitOf(agent('api'))).toBe(0);
    const renewed = nextLine('web', '"Identity renewed"');
    mesh.controlPlane.process.kill('SIGCONT');
    await renewed;
    await mesh.startAgent('api');
  });

  it.each(['SIGUSR1', 'SIGUSR2'] as const)('R19: goes on in the drain at a %s', async (signal) => {
    const long = await openLong();
    const { process } = agent('api');
    process.kill('SIGTERM');
    await agent('api').line((line) => line.includes('"Draining"'));
    process.kill(signal);
    long.process.stdin?.write('still here\n');
    await long.line((line) => line.includes('"echo":"still here"'));
    long.process.stdin?.end();
    await long.line((line) => line.includes('"ended":"end"'));
    expect(await exitOf(agent('api'))).toBe(0);
    await mesh.startAgent('api');
  });

  it('K7: goes on where it was when it was stopped for a while, and after a longer while with new connections', async () => {
    const long = await openLong();
    const { process } = agent('api');
    process.kill('SIGSTOP');
    const waiting = start('ask', 7001);
    long.process.stdin?.write('sent meanwhile\n');
    process.kill('SIGCONT');
    await long.line((line) => line.includes('"echo":"sent meanwhile"'));
    expect(await result(waiting)).toEqual({ text: 'hello', ended: 'end' });
    process.kill('SIGSTOP');
    // Until its peer has given up its tunnel, after three PINGs without an answer.
    await long.line((line) => line.includes('"ended":"ECONNRESET"'));
    process.kill('SIGCONT');
    expect(await result(start('ask', 7001))).toEqual({ text: 'hello', ended: 'end' });
  }, 120_000);

  it('K8: lets nobody pass while the sidecar is gone, and needs no restart of the application when it is back', async () => {
    await agent('api').stop('SIGKILL');
    const dialled = await mesh.pods.control.dial([`${pods.api.v4}:7001`]);
    expect(dialled).toEqual([{ target: `${pods.api.v4}:7001`, failed: 'ECONNREFUSED' }]);
    await expect(say('to nobody')).rejects.toThrow(/reset|refused/);
    await expect(mesh.pods.api.sh(saying('from nobody', pods.web.v4))).rejects.toThrow(/refused/);
    await mesh.startAgent('api');
    expect(await say('and back')).toBe('and back\n');
    expect(await mesh.pods.api.sh(saying('and forth', pods.web.v4))).toBe('and forth\n');
  });

  it('K11: starts, carries and stops where every folder is full or cannot be written', async () => {
    await agent('web').stop('SIGTERM');
    const env = { PATH: process.env.PATH, TMPDIR: '/proc', HOME: '/proc' };
    const { process: sidecar } = await mesh.startAgent('web', [], { env });
    // From now on every write to a file fails, wherever it is.
    await mesh.pods.control.sh(
      `setpriv --reuid=1337 --regid=1337 --clear-groups prlimit --pid ${sidecar.pid} --fsize=0:0`,
    );
    await nextLine('web', '"Identity renewed"');
    expect(await result(start('download', 7003, 8 * 1024 * 1024))).toEqual({ isEqual: true, bytes: 8 * 1024 * 1024 });
    sidecar.kill('SIGTERM');
    expect(await exitOf(agent('web'))).toBe(0);
    await mesh.startAgent('web');
  });

  it('K2: lets transfers that are running end within the drain deadline, takes no new ones, and exits 0', async () => {
    const transfers = Array.from({ length: 5 }, () => start('download', 7003, 8 * 1024 * 1024));
    const large = [start('download', 7003, 64 * 1024 * 1024), start('upload', 7002, 64 * 1024 * 1024)];
    for (const transfer of [...transfers, ...large]) await transfer.line((line) => line.includes('started'));
    const long = await openLong();
    agent('api').process.kill('SIGTERM');
    await agent('api').line((line) => line.includes('"Stopping"'));
    for (const transfer of transfers) expect(await result(transfer)).toEqual({ isEqual: true, bytes: 8 * 1024 * 1024 });
    for (const transfer of large) expect(await result(transfer)).toMatchObject({ isEqual: true });
    long.process.stdin?.write('still here\n');
    await long.line((line) => line.includes('"echo":"still here"'));
    long.process.stdin?.end();
    await long.line((line) => line.includes('"ended":"end"'));
    expect(await exitOf(agent('api'))).toBe(0);
    const refused = await result(start('ask', 7001));
    expect(refused.ended ?? refused.failed).toBe('ECONNRESET');
    await mesh.startAgent('api');
    expect(await result(start('ask', 7001))).toEqual({ text: 'hello', ended: 'end' });
  });

  it('K3: resets what is still open at the drain deadline, counts it as drain_deadline, and exits 1', async () => {
    await stopAndStart('web', ['--drain-deadline', '300ms']);
    const long = await openLong();
    agent('web').process.kill('SIGTERM');
    expect(await exitOf(agent('web'))).toBe(1);
    await long.line((line) => line.includes('ECONNRESET'));
    expect(agent('web').lines.some((line) => line.includes('"drain_deadline"'))).toBe(true);
    await mesh.startAgent('web');
  });

  it('K4: ends at once at a second signal that is not the echo of the first', async () => {
    await stopAndStart('web', ['--drain-deadline', '10m']);
    const long = await openLong();
    const { process } = agent('web');
    process.kill('SIGTERM');
    process.kill('SIGTERM');
    await agent('web').line((line) => line.includes('"Stopping"'));
    await systemClock.sleep(1100);
    expect(process.exitCode).toBeNull();
    process.kill('SIGINT');
    expect(await exitOf(agent('web'))).toBe(130);
    await long.line((line) => line.includes('"ended"'));
    await mesh.startAgent('web');
  });

  it('L12: refuses what the application dials while the sidecar is gone, and never lets it pass', async () => {
    await agent('web').stop('SIGKILL');
    expect(await result(start('ask', 7001))).toEqual({ failed: 'ECONNREFUSED' });
    await mesh.startAgent('web');
    expect(await result(start('ask', 7001))).toEqual({ text: 'hello', ended: 'end' });
  });

  it.each([
    ['other', 'api'],
    ['own', 'web'],
  ] as const)(
    'N21: shows a sidecar that was killed in mid-transfer as a reset, to an application of the %s pod',
    async (_, name) => {
      const long = await openLong();
      await agent(name).stop('SIGKILL');
      await long.line((line) => line.includes('"ended":"ECONNRESET"'));
      await mesh.startAgent(name);
    },
  );

  it.each([
    ['outbound', 15001],
    ['inbound', 15006],
    ['HBONE', 15008],
    ['metrics', 15020],
    ['health', 15021],
    ['admin', 15000],
  ])('K9: does not start when the %s port is taken, and names it', async (_name, port) => {
    await agent('web').stop('SIGTERM');
    const thief = await mesh.pods.web.listen('thief', [
      `${port === 15001 || port === 15000 ? '127.0.0.1' : '0.0.0.0'}:${port}`,
    ]);
    await expect(mesh.startAgent('web')).rejects.toThrow(new RegExp(`:${port} is in use by another process`));
    expect(await exitOf(agent('web'))).not.toBe(0);
    await thief.stop();
    await mesh.startAgent('web');
  });

  it('ends with 78 when the rules let out another user, because what it dials would come back to it', async () => {
    await agent('web').stop('SIGTERM');
    expect(await mesh.pods.web.remora(['init', '--uid', '1338'])).toMatchObject({ status: 0 });
    await expect(mesh.startAgent('web')).rejects.toThrow(/do not let this process out, expected it to run as the uid/);
    expect(await exitOf(agent('web'))).toBe(78);
    expect(await mesh.pods.web.remora(['init'])).toMatchObject({ status: 0 });
    await mesh.startAgent('web');
  });

  it('N18: is not ready while the redirect rules are gone', async () => {
    const ready = () => mesh.pods.control.sh(`curl -sS http://${pods.web.v4}:15021/healthz/ready`);
    expect(await ready()).toBe('ready\n');
    await mesh.pods.web.sh('nft delete table inet remora');
    await agent('web').line((line) => line.includes('"Not ready"') && line.includes('interception'));
    expect(await ready()).toContain('interception');
    const before = agent('web').lines.length;
    const init = await mesh.pods.web.remora(['init', '--skip-proof']);
    expect(init).toMatchObject({ status: 0 });
    await agent('web').line((line) => line.includes('"Ready"') && agent('web').lines.indexOf(line) >= before);
    expect(await ready()).toBe('ready\n');
  });

  async function stopAndStart(name: Name, args: readonly string[]): Promise<void> {
    agent(name).process.kill('SIGTERM');
    await exitOf(agent(name));
    await mesh.startAgent(name, args);
  }
});
