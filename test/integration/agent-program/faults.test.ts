import { execFile } from 'node:child_process';
import { chmodSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import type { Agent, Program, ProgramOptions } from './agent-program.ts';
import {
  freeAgentPorts,
  freePorts,
  killPrograms,
  page,
  readyAgent,
  startAgent,
  startProgram,
} from './agent-program.ts';
import { idOf, newPath, useFolder, writeIdentity, writeText } from './identity-files.ts';

/*
 * Goal: a mistake of ours, the end of the heap and a signal nobody expects end the program as they should, or not at all,
 * and nothing of its memory gets out. Method: the real program, with code in front of it that does harm at SIGWINCH.
 */

useFolder();
afterEach(killPrograms);

const run = promisify(execFile);

const db = () => ({ ...writeIdentity('db'), deliver: '127.0.0.1:9', allowPeers: idOf('web') });

/** Runs `harm`, a statement, in the program at SIGWINCH. */
function withHarm(harm: string, options: ProgramOptions = {}): ProgramOptions {
  const path = writeText('harm.mjs', `process.on('SIGWINCH', () => { ${harm} });`);
  return { ...options, nodeFlags: [`--import=${path}`, ...(options.nodeFlags ?? [])] };
}

async function readyControlPlane(options: ProgramOptions): Promise<Program & { readonly metrics: number }> {
  const [api, metrics = 0] = await freePorts(2);
  const listen = ['--listen', `127.0.0.1:${api}`, '--metrics-listen', `127.0.0.1:${metrics}`];
  const program = startProgram(['control-plane', '--in-memory', ...listen], options);
  await program.line({ msg: 'Control plane ready' });
  return { ...program, metrics };
}

const harm = ({ process }: Program) => process.kill('SIGWINCH');

describe('a mistake', () => {
  it.each([
    ['an exception that nobody catches', `throw new TypeError('by mistake')`],
    ['a rejection that nobody handles', `Promise.reject(new TypeError('by mistake'))`],
  ])('K12: %s is told of once and ends the program with 1', async (_, statement) => {
    const agent = await readyAgent(db(), withHarm(statement));
    harm(agent);
    const { code, stdout, stderr } = await agent.ended;
    expect(code).toBe(1);
    expect(`${stdout}${stderr}`.match(/by mistake/g)).toHaveLength(1);
    expect(stderr).toMatch(/^remora: internal error, please report it: TypeError: by mistake\n/);
  });
});

describe('the end of the heap', () => {
  const fillHeap = 'const all = []; setInterval(() => all.push(new Array(100_000).fill(all.length + 0.5)), 0);';

  it('X9: ends the program at once, and the next one serves', async () => {
    const ports = await freeAgentPorts();
    const onPorts = { healthPort: String(ports.health), hbonePort: String(ports.hbone) };
    const options = withHarm(fillHeap, { env: { NODE_OPTIONS: '--max-old-space-size=48' } });
    const first = await readyAgent({ ...db(), ...onPorts }, options);
    harm(first);
    const { code, stderr } = await first.ended;
    expect(code).not.toBe(0);
    expect(stderr).toContain('JavaScript heap out of memory');
    expect(first.process.signalCode).toBe('SIGABRT');
    await readyAgent({ ...db(), ...onPorts });
    expect((await page(ports.health, '/healthz/ready')).status).toBe(200);
  });

  it('X9: that is too small for the program ends it before it listens', async () => {
    const agent = await startAgent(db(), { env: { NODE_OPTIONS: '--max-old-space-size=8' } });
    const { code, stdout } = await agent.ended;
    expect(code).not.toBe(0);
    expect(stdout).not.toContain('Ready');
  });
});

describe('a block of the event loop', () => {
  const block = 'const until = performance.now() + 1000; while (performance.now() < until);';
  const waiting = { timeout: 20_000 };
  /** The longest one in the log; the start of a program may have been one as well. */
  const toldOf = ({ lines }: Program) =>
    Math.max(
      ...lines
        .filter(({ msg }) => msg === 'The event loop was blocked, and every connection waited')
        .map(({ lagMs }) => Number(lagMs)),
    );
  const lagsOver = (text: string, bound: string) => {
    const value = (name: string) =>
      Number(new RegExp(`^remora_event_loop_lag_seconds_${name} (\\d+)$`, 'm').exec(text)?.[1]);
    return value('count') - value(`bucket\\{le="${bound}"\\}`);
  };

  it('X13: is in the metrics and the log of a sidecar', async () => {
    const agent = await readyAgent(db(), withHarm(block));
    harm(agent);
    await expect.poll(() => toldOf(agent), waiting).toBeGreaterThanOrEqual(900);
    const { text } = await page(agent.ports.metrics, '/metrics');
    expect(lagsOver(text, '0.5')).toBeGreaterThanOrEqual(4);
  });

  it('X13: is in the metrics and the log of a control plane', async () => {
    const controlPlane = await readyControlPlane(withHarm(block));
    harm(controlPlane);
    await expect.poll(() => toldOf(controlPlane), waiting).toBeGreaterThanOrEqual(900);
    const { text } = await page(controlPlane.metrics, '/metrics');
    expect(lagsOver(text, '0.5')).toBeGreaterThanOrEqual(4);
  });
});

describe('the flags of Node.js', () => {
  const forBuffers = ['--heap-growing-percent=300', '--max-semi-space-size=2'];
  const flagsOf = ({ process: { pid } }: Program) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');

  it('let buffers become garbage in a sidecar, and leave the heap of a control plane as it is', async () => {
    expect(flagsOf(await readyAgent(db()))).toEqual(expect.arrayContaining(forBuffers));
    const ofControlPlane = flagsOf(await readyControlPlane({}));
    expect(ofControlPlane).toContain('--disable-sigusr1');
    for (const flag of forBuffers) expect(ofControlPlane).not.toContain(flag);
  });
});

describe('a signal', () => {
  it('K5: SIGUSR1, SIGUSR2 and SIGPIPE open no inspector and end nothing', async () => {
    const agent = await readyAgent(db());
    for (const signal of ['SIGUSR1', 'SIGUSR2', 'SIGPIPE'] as const) agent.process.kill(signal);
    for (let answers = 0; answers < 3; answers += 1)
      expect((await page(agent.ports.health, '/livez')).status).toBe(200);
    expect(await agent.stop()).toMatchObject({ code: 0, stderr: '' });
  });

  it('K5: nor in a control plane', async () => {
    const controlPlane = await readyControlPlane({});
    for (const signal of ['SIGUSR1', 'SIGUSR2', 'SIGPIPE'] as const) controlPlane.process.kill(signal);
    expect((await page(controlPlane.metrics, '/healthz')).status).toBe(200);
    expect(await controlPlane.stop()).toMatchObject({ code: 0, stderr: '' });
  });

  it.each(['SIGHUP', 'SIGQUIT'] as const)('K5: %s ends it at once', async (signal) => {
    const agent = await readyAgent(db());
    agent.process.kill(signal);
    await agent.ended;
    expect(agent.process.signalCode).toBe(signal);
  });
});

describe('the memory of the program', () => {
  it('K15: is in no diagnostic report, nor is the environment', async () => {
    const identity = writeIdentity('db');
    const report = newPath('report.json');
    const options = {
      env: { APP_SECRET: 'swordfish', NODE_OPTIONS: `--report-on-signal --report-signal=SIGUSR2` },
      nodeFlags: [`--report-dir=${dirname(report)}`, `--report-filename=${report.split('/').at(-1)}`],
    };
    const agent: Agent = await readyAgent({ ...db(), ...identity }, options);
    agent.process.kill('SIGUSR2');
    await expect.poll(() => agent.stderr()).toContain('Node.js report completed');
    const text = readFileSync(report, 'utf8');
    expect(text).toContain('"javascriptHeap"');
    expect(text).not.toContain('swordfish');
    const [, secret = ''] = readFileSync(identity.keyFile, 'utf8').split('\n');
    expect(secret).toHaveLength(64);
    expect(text).not.toContain(secret);
  });

  it.each(['--heapsnapshot-signal=SIGUSR2', '--heapsnapshot-near-heap-limit=1'])(
    'K15: is not written to a file: %s is refused',
    async (flag) => {
      const agent = await startAgent(db(), { env: { NODE_OPTIONS: flag } });
      const { code, stderr } = await agent.ended;
      expect(code).toBe(78);
      expect(stderr).toContain(`NODE_OPTIONS contains ${flag.split('=')[0]}, expected no flag`);
    },
  );

  it.skipIf(process.getuid?.() !== 0).each(['agent', 'control-plane'])(
    'K15: of remora %s is for no other process of its user, nor for a core dump (needs root)',
    async (name) => {
      const uid = 1337;
      const identity = writeIdentity('db');
      chmodSync(dirname(dirname(identity.keyFile)), 0o755);
      chmodSync(identity.keyFile, 0o644);
      const settings = { ...identity, deliver: '127.0.0.1:9', allowPeers: idOf('web') };
      const program = name === 'agent' ? await readyAgent(settings, { uid }) : await readyControlPlane({ uid });
      const environment = `/proc/${program.process.pid}/environ`;
      await expect(run('cat', [environment], { uid })).rejects.toThrow('Permission denied');
    },
  );
});
