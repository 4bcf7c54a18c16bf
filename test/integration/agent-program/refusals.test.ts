import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { ProgramOptions } from './agent-program.ts';
import { asFlags, freeAgentPorts, freePorts, killPrograms, runProgram, settingsOf } from './agent-program.ts';
import { idOf, newPath, useFolder, writeIdentity, writeText } from './identity-files.ts';

/*
 * Goal: whatever keeps `remora agent` from starting, it says so in one sentence a problem, on standard error and without
 * a stack, and ends with the exit code of that kind. Method: the real program with one thing wrong.
 */

useFolder();
afterEach(killPrograms);

/** Everything that a client end needs, on free ports. */
async function goodSettings(): Promise<Record<string, string>> {
  const [listen = 0] = await freePorts(1);
  const tunnel = { listen: `127.0.0.1:${listen}`, target: '127.0.0.1:5432', peer: idOf('db') };
  return { ...settingsOf(await freeAgentPorts()), ...writeIdentity('web'), ...tunnel };
}

interface Refusal {
  readonly code: number | null;
  readonly sentences: readonly string[];
}

/** Runs the agent, expects it to say nothing but sentences, and returns them. */
async function refusal(args: readonly string[], options?: ProgramOptions): Promise<Refusal> {
  const { code, stdout, stderr } = await runProgram(['agent', ...args], options);
  expect(stdout).toBe('');
  expect(stderr).toMatch(/^(?:remora: [^\n]+\n)+$/);
  expect(stderr).not.toMatch(/\n\s+at |node:internal|\.ts:\d/);
  return {
    code,
    sentences: stderr
      .trimEnd()
      .split('\n')
      .map((line) => line.replace('remora: ', '')),
  };
}

describe('the command line', () => {
  it.each([
    [['--no-such-flag', '1'], "unknown option '--no-such-flag'"],
    [['--listn', '127.0.0.1:1'], "unknown option '--listn' (Did you mean --listen?)"],
    [['--listen'], "option '--listen <ip:port>' argument missing"],
    [['surplus'], 'too many arguments'],
    [['--target', 'db:1'], '--target db:1 belongs to no tunnel, expected --listen before it'],
    [['--listen', '127.0.0.1:1', '--peer', idOf('db')], '--listen 127.0.0.1:1 has no --target, expected one behind it'],
    [['--log-level', 'info', '--log-level', 'warn'], '--log-level is given 2 times, expected once'],
  ])('that cannot be understood ends it with 2: %s', async (args, sentence) => {
    const { code, sentences } = await refusal(args);
    expect(code).toBe(2);
    expect(sentences).toEqual([expect.stringContaining(sentence)]);
  });
});

describe('settings', () => {
  it.each([
    [
      'G4: a duration without a unit',
      { drainDeadline: '5' },
      'drainDeadline=5 from --drain-deadline is not a duration',
    ],
    ['G4: a duration below zero', { drainDeadline: '-1s' }, 'drainDeadline=-1s from --drain-deadline'],
    ['G3: a port that is none', { hbonePort: '70000' }, 'hbonePort=70000 from --hbone-port'],
    ['G2: a word that is not known', { logLevel: 'loud' }, 'logLevel=loud from --log-level'],
    ['a peer with dots in its path', { peer: 'spiffe://cluster.local/ns/../sa/db' }, 'from --listen is not a'],
    ['a peer that is no SPIFFE ID', { peer: 'db' }, 'from --listen is not a'],
    ['a listener beyond loopback', { listen: '0.0.0.0:5432' }, 'can be reached from other hosts in plaintext'],
    ['a certificate without its key', { keyFile: undefined }, 'keyFile is missing, expected certificateFile, keyFile'],
    [
      'no source of certificates',
      { certificateFile: undefined, keyFile: undefined, bundleFile: undefined },
      'No source of certificates is set',
    ],
    ['deliveries for nobody', { deliver: '127.0.0.1:5432' }, 'deliver is set without a control plane'],
    ['a control plane without TLS', { controlPlane: 'http://10.0.0.1' }, 'controlPlane=http://10.0.0.1 from'],
  ])('%s ends it with 78', async (_, wrong, sentence) => {
    const merged: Record<string, string | undefined> = { ...(await goodSettings()), ...wrong };
    const settings = Object.entries(merged).filter((entry): entry is [string, string] => entry[1] !== undefined);
    const { code, sentences } = await refusal(asFlags(Object.fromEntries(settings)));
    expect(code).toBe(78);
    expect(sentences).toEqual([expect.stringContaining(sentence)]);
  });

  it('G2: unknown ones and wrong ones in several places are told of all at once', async () => {
    const file = writeText('agent.yaml', 'drainDeadlin: 5s\nhbonePort: 0\n');
    const env = { REMORA_LOGLEVEL: 'info', REMORA_METRICS_PORT: 'x', REMORA_CONFIG: file };
    const { code, sentences } = await refusal(['--capture', 'maybe'], { env });
    expect(code).toBe(78);
    expect(sentences).toHaveLength(5);
    for (const name of ['drainDeadlin', 'hbonePort', 'REMORA_LOGLEVEL', 'metricsPort', 'capture'])
      expect(sentences).toContainEqual(expect.stringContaining(name));
  });
});

describe('a file of settings', () => {
  it.each([
    ['that is not YAML', 'a: [1,\nb: {', /line \d+ is not valid YAML: /],
    ['with a duplicated key', 'logLevel: info\nlogLevel: warn\n', /line 2 is not valid YAML: Map keys must be unique/],
    ['with a tab', 'tunnels:\n\t- listen: 127.0.0.1:1\n', /line \d+ is not valid YAML: /],
    ['that is empty', '', / is empty, expected a mapping of settings/],
    ['that is a list', '- a\n', / is not a mapping, expected lines such as/],
    ['with an alias', 'a: &a [x]\nb: *a\n', /line 2 uses the alias \*a, expected plain values/],
    ['with a NUL', 'logLevel: in\0fo\n', / contains a NUL character/],
    ['that is too large', `#${'x'.repeat(70_000)}\n`, / has 70002 characters, expected at most 65536/],
  ])('G1: %s ends it with 78 and its path', async (_, text, sentence) => {
    const file = writeText('agent.yaml', text);
    const { code, sentences } = await refusal(['--config', file, ...asFlags(await goodSettings())]);
    expect(code).toBe(78);
    expect(sentences[0]).toContain(file);
    expect(sentences[0]).toMatch(sentence);
  });

  it('G1: that is missing, or is a folder, ends it with 78 and its path', async () => {
    const missing = newPath('none.yaml');
    const settings = asFlags(await goodSettings());
    expect(await refusal(['--config', missing, ...settings])).toEqual({
      code: 78,
      sentences: [`${missing} cannot be read (ENOENT), expected a YAML file of settings`],
    });
    mkdirSync(missing);
    expect(await refusal(['--config', missing, ...settings])).toEqual({
      code: 78,
      sentences: [`${missing} cannot be read (EISDIR), expected a YAML file of settings`],
    });
  });
});

describe('the surroundings', () => {
  it.each(['listen', 'hbonePort', 'metricsPort', 'healthPort', 'adminListen'])(
    'K9: another process on the address of %s ends it with 1, and is named',
    async (name) => {
      const { listen, target, peer, ...server } = await goodSettings();
      const tunnel = { listen, target, peer };
      const settings = { ...server, deliver: '127.0.0.1:1', allowPeers: idOf('web'), ...tunnel } as Record<
        string,
        string
      >;
      const port = Number(settings[name]?.split(':').at(-1));
      const occupant = createServer().listen(port, '127.0.0.1');
      await once(occupant, 'listening');
      expect(await refusal(asFlags(settings))).toEqual({
        code: 1,
        sentences: [`127.0.0.1:${port} is in use by another process, expected it to be free`],
      });
      occupant.close();
    },
  );

  it('an address that is not one of this host ends it with 1, and is named', async () => {
    const settings = { ...(await goodSettings()), metricsBind: '192.0.2.1' };
    const { code, sentences } = await refusal(asFlags(settings));
    expect(code).toBe(1);
    expect(sentences).toEqual([expect.stringMatching(/^192\.0\.2\.1:\d+ is not an address of this host/)]);
  });

  it('another user than that of the redirect rules ends it with 78', async () => {
    const ports = asFlags(settingsOf(await freeAgentPorts()));
    const capture = ['--control-plane', 'https://10.0.0.1', '--mesh-networks', '10.0.0.0/8'];
    const { code, sentences } = await refusal([...capture, '--rules-uid', '4242', ...ports]);
    expect(code).toBe(78);
    expect(sentences).toEqual([
      expect.stringMatching(/^This process runs as uid \d+ and gid \d+, but the redirect rules let out rulesUid=4242/),
    ]);
  });

  it.each([
    ['NODE_TLS_REJECT_UNAUTHORIZED', '0'],
    ['NODE_EXTRA_CA_CERTS', undefined],
    ['SSL_CERT_FILE', undefined],
    ['SSL_CERT_DIR', '/etc/ssl/certs'],
    ['SSLKEYLOGFILE', '/tmp/keys'],
    ['OPENSSL_CONF', '/dev/null'],
    ['NODE_OPTIONS', '--tls-min-v1.0'],
  ])('%s in the environment ends it with 78', async (name, value) => {
    const settings = await goodSettings();
    const env = { [name]: value ?? String(settings.bundleFile) };
    const { code, sentences } = await refusal(asFlags(settings), { env });
    expect(code).toBe(78);
    expect(sentences).toEqual([expect.stringContaining(name)]);
  });

  it('flags of Node.js that change TLS end it with 78', async () => {
    const { code, sentences } = await refusal(asFlags(await goodSettings()), { nodeFlags: ['--use-openssl-ca'] });
    expect(code).toBe(78);
    expect(sentences).toEqual([expect.stringContaining('--use-openssl-ca')]);
  });
});
