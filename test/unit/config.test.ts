import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { configurationDocument } from '../../src/config/document.ts';
import { agentCommand } from '../../src/config/flags.ts';
import { describeOrigin } from '../../src/config/given.ts';
import { agentTable } from '../../src/config/table.ts';
import type { SettingsInput } from '../../src/config.ts';
import { loadAgentSettings } from '../../src/config.ts';
import { ConfigurationError, exitCodes, UsageError } from '../../src/errors.ts';

const file = '/etc/remora.yaml';

interface Given {
  args?: string[];
  env?: Record<string, string>;
  yaml?: string;
  nodeFlags?: string[];
  uid?: number;
  gid?: number;
}

function input({ args = [], env = {}, yaml, nodeFlags = [], uid = 1337, gid = 1337 }: Given): SettingsInput {
  return {
    args: [...(yaml === undefined ? [] : ['--config', file]), ...args],
    env,
    nodeFlags,
    uid,
    gid,
    readFile: (path) => {
      if (path === file && yaml !== undefined) return yaml;
      throw Object.assign(new Error(`ENOENT: no such file or directory, open '${path}'`), { code: 'ENOENT' });
    },
  };
}

const captured = ['--control-plane', 'https://control-plane.remora-system.svc:15012', '--mesh-networks', '10.1.0.0/16'];
const load = (given: Given) => loadAgentSettings(input({ ...given, args: [...captured, ...(given.args ?? [])] }));

function problemsOf(given: Given, base: readonly string[] = captured): readonly string[] {
  try {
    loadAgentSettings(input({ ...given, args: [...base, ...(given.args ?? [])] }));
  } catch (error) {
    if (error instanceof ConfigurationError) return error.problems;
    throw error;
  }
  return [];
}

describe('where a value comes from', () => {
  it('takes the flag before the variable before the file before the default', () => {
    const yaml = 'drainDeadline: 40s\nconnectTimeout: 7s\nresolveTimeout: 8s\n';
    const env = { REMORA_DRAIN_DEADLINE: '41s', REMORA_CONNECT_TIMEOUT: '6s' };
    const { settings, origins } = load({ args: ['--drain-deadline', '42s'], env, yaml });
    expect(settings.drainDeadlineMs).toBe(42_000);
    expect(settings.connectTimeoutMs).toBe(6000);
    expect(settings.resolveTimeoutMs).toBe(8000);
    expect(settings.handshakeTimeoutMs).toBe(10_000);
    expect(describeOrigin(origins.drainDeadline)).toBe('--drain-deadline');
    expect(describeOrigin(origins.connectTimeout)).toBe('REMORA_CONNECT_TIMEOUT');
    expect(describeOrigin(origins.resolveTimeout)).toBe('/etc/remora.yaml line 3');
    expect(describeOrigin(origins.handshakeTimeout)).toBe('the default');
  });

  it('finds the file through REMORA_CONFIG, and --config goes before it', () => {
    const yaml = 'logLevel: warn\n';
    const fromVariable = loadAgentSettings({ ...input({ yaml }), args: captured, env: { REMORA_CONFIG: file } });
    expect(fromVariable.settings.logLevel).toBe('warn');
    const fromFlag = load({ yaml, env: { REMORA_CONFIG: '/nowhere.yaml' } });
    expect(fromFlag.settings.logLevel).toBe('warn');
  });

  it('checks a value that another place overrides all the same', () => {
    expect(problemsOf({ args: ['--drain-deadline', '1s'], env: { REMORA_DRAIN_DEADLINE: 'soon' } })).toEqual([
      expect.stringContaining('drainDeadline=soon from REMORA_DRAIN_DEADLINE is not a duration'),
    ]);
  });

  it('reads every kind of value', () => {
    const { settings } = load({
      args: ['--mesh-networks', '10.0.0.0/8, fd00::/8', '--mesh-networks', '192.168.0.0/16', '--keepalive', 'never'],
      env: {
        REMORA_STREAM_WINDOW: '1MiB',
        REMORA_RENEWAL_FRACTION: '0.4',
        REMORA_ADMIN_LISTEN: '/run/remora/admin.sock',
      },
      yaml: 'hboneBind: ["10.0.0.7", "::"]\nmaxConnections: 500\nminimumInboundMode: PERMISSIVE\nunsafeListen: true\n',
    });
    expect(settings).toMatchObject({
      meshNetworks: ['10.1.0.0/16', '10.0.0.0/8', 'fd00::/8', '192.168.0.0/16'],
      keepaliveMs: 'never',
      streamWindowBytes: 1024 ** 2,
      renewalFraction: 0.4,
      adminListen: { kind: 'unix', path: '/run/remora/admin.sock' },
      hboneBind: ['10.0.0.7', '::'],
      maxConnections: 500,
      minimumInboundMode: 'PERMISSIVE',
      unsafeListen: true,
      controlPlane: 'https://control-plane.remora-system.svc:15012',
      capture: true,
    });
  });

  it('gives the control plane its port when none is written', () => {
    const { settings } = loadAgentSettings(
      input({ args: ['--control-plane', 'https://[fd00::1]', '--mesh-networks', 'fd00::/8'] }),
    );
    expect(settings.controlPlane).toBe('https://[fd00::1]:15012');
  });

  it('knows the effective ports', () => {
    const { settings } = load({ args: ['--hbone-port', '25008', '--admin-listen', '[::1]:25000'] });
    expect(settings.ports).toEqual({
      outbound: 15001,
      inbound: 15006,
      hbone: 25008,
      admin: 25000,
      metrics: 15020,
      health: 15021,
    });
  });

  it('has a default that its own kind reads back, for every setting', () => {
    for (const [name, { kind, default: value }] of Object.entries(agentTable)) {
      if (value === undefined) continue;
      const text = kind.show(value);
      expect(kind.read(kind.isList ? text.split(',').filter(Boolean) : [text]), name).toEqual({ kind: 'value', value });
    }
  });
});

describe('what is refused', () => {
  it('names the setting, the value, the place and what was expected', () => {
    expect(problemsOf({ env: { REMORA_DRAIN_DEADLINE: '5' } })).toEqual([
      'drainDeadline=5 from REMORA_DRAIN_DEADLINE is not a duration, expected a number with a unit such as 5s (0s to 1d)',
    ]);
  });

  it('lists every problem of every place at once, with exit code 78', () => {
    const given = input({
      args: ['--hbone-port', '70000', '--mesh-networks', '10.0.0.0/8,10.0.0.0/33'],
      env: { REMORA_LOG_LEVEL: 'verbose', REMORA_TRUST_DOMIAN: 'x', NODE_EXTRA_CA_CERTS: '/ca.pem' },
      yaml: 'drainDeadlin: 5s\nmaxHandshakes: 0\n',
    });
    const error = (() => {
      try {
        return loadAgentSettings(given);
      } catch (thrown) {
        return thrown as ConfigurationError;
      }
    })() as ConfigurationError;
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(error.exitCode).toBe(exitCodes.configuration);
    expect(error.problems).toEqual([
      'NODE_EXTRA_CA_CERTS is set in the environment, expected it to be absent: it changes whom TLS trusts',
      'REMORA_TRUST_DOMIAN in the environment is not a setting, did you mean REMORA_TRUST_DOMAIN?',
      'drainDeadlin in /etc/remora.yaml line 1 is not a setting, did you mean drainDeadline?',
      'maxHandshakes=0 from /etc/remora.yaml line 2 is not an integer, expected a whole number from 1 to 10000',
      'logLevel=verbose from REMORA_LOG_LEVEL is not a log level, expected one of debug, info, warn, error, silent',
      'hbonePort=70000 from --hbone-port is not a port, expected a number from 1 to 65535',
      'meshNetworks=10.0.0.0/33 from --mesh-networks is not a range of addresses, expected an IP literal with a prefix length such as 10.0.0.0/8',
    ]);
  });

  it('shows a value without its control characters, and not all of a long one', () => {
    const [problem = ''] = problemsOf({ env: { REMORA_TRUST_DOMAIN: `a\u001b[31m\n${'x'.repeat(5000)}` } });
    expect(problem).not.toContain('\u001b');
    expect(problem).not.toContain('\n');
    expect(problem.length).toBeLessThan(400);
  });

  describe('G1: a file that is not plain YAML is refused with its path and the reason', () => {
    const refused: [what: string, yaml: string, reason: string][] = [
      ['an empty file', '', '/etc/remora.yaml is empty, expected a mapping of settings'],
      ['white space', ' \n\n', '/etc/remora.yaml is empty, expected a mapping of settings'],
      ['a comment alone', '# nothing\n', '/etc/remora.yaml is not a mapping'],
      ['a sequence', '- a\n', '/etc/remora.yaml is not a mapping'],
      [
        'duplicate keys',
        'logLevel: info\nlogLevel: warn\n',
        '/etc/remora.yaml line 2 is not valid YAML: Map keys must be unique',
      ],
      [
        'tabs as indentation',
        'tunnels:\n\t- listen: x\n',
        '/etc/remora.yaml line 2 is not valid YAML: Tabs are not allowed as indentation',
      ],
      ['a byte order mark', '\uFEFFlogLevel: info\n', '/etc/remora.yaml begins with a byte order mark'],
      ['a NUL character', 'logLevel: in\0fo\n', '/etc/remora.yaml contains a NUL character'],
      [
        'two documents',
        'logLevel: info\n---\nlogLevel: warn\n',
        '/etc/remora.yaml line 2 is not valid YAML: Source contains multiple documents',
      ],
      ['a tag', 'logLevel: !!js/function x\n', '/etc/remora.yaml line 1 is not valid YAML'],
      ['60,000 brackets', '['.repeat(60_000), 'is not valid YAML'],
      [
        'more than 64 KiB',
        `# ${'x'.repeat(70_000)}\n`,
        '/etc/remora.yaml has 70003 characters, expected at most 65536',
      ],
    ];
    it.each(refused)('G1: %s', (_, yaml, reason) => {
      const problems = problemsOf({ yaml });
      expect(problems.length).toBeLessThanOrEqual(3);
      expect(problems[0]).toContain(reason);
    });

    it('G1: a missing file', () => {
      expect(problemsOf({ args: ['--config', '/nowhere.yaml'] })).toEqual([
        '/nowhere.yaml cannot be read (ENOENT), expected a YAML file of settings',
      ]);
    });

    it('G1: a bomb of aliases, without expanding it', () => {
      const levels = Array.from({ length: 30 }, (_, i) => `a${i + 1}: &a${i + 1} [${`*a${i}, `.repeat(9)}]`);
      expect(problemsOf({ yaml: ['a0: &a0 [x]', ...levels].join('\n') })).toEqual([
        '/etc/remora.yaml line 2 uses the alias *a0, expected plain values',
      ]);
    });
  });

  describe('G2: what is not known is refused', () => {
    it('G2: a key of the file', () => {
      expect(problemsOf({ yaml: '__proto__: 1\nconstructor: 2\nminimumOutbuond: plaintext\n' })).toEqual([
        '__proto__ in /etc/remora.yaml line 1 is not a setting, expected one of the settings',
        'constructor in /etc/remora.yaml line 2 is not a setting, expected one of the settings',
        'minimumOutbuond in /etc/remora.yaml line 3 is not a setting, did you mean minimumOutbound?',
      ]);
    });

    it('G2: a flag, with the nearest one that exists', () => {
      expect(() => load({ args: ['--drain-dedline', '5s'] })).toThrow(UsageError);
      expect(() => load({ args: ['--drain-dedline', '5s'] })).toThrow(
        /unknown option '--drain-dedline'.*--drain-deadline/,
      );
    });

    it('G2: a word of a closed list, with the nearest one that exists', () => {
      expect(problemsOf({ args: ['--minimum-inbound-mode', 'strict'] })).toEqual([
        'minimumInboundMode=strict from --minimum-inbound-mode is not a mode, expected one of DISABLE, PERMISSIVE, STRICT; did you mean STRICT?',
      ]);
    });

    it('G2: a variable, but not those that Kubernetes makes for Services, nor the marker of the program itself', () => {
      const links = {
        REMORA_PORT: 'tcp://10.96.0.9:15012',
        REMORA_SERVICE_HOST: '10.96.0.9',
        REMORA_SERVICE_PORT_API: '15012',
        REMORA_CONTROL_PLANE_PORT_15012_TCP_ADDR: '10.96.0.9',
        REMORA_METRICS_PORT: 'tcp://10.96.0.10:15020',
        REMORA_NODE_FLAGS_SET: '1',
      };
      expect(problemsOf({ env: links })).toEqual([]);
      expect(problemsOf({ env: { REMORA_HBOEN_PORT: '15008' } })).toEqual([
        'REMORA_HBOEN_PORT in the environment is not a setting, did you mean REMORA_HBONE_PORT?',
      ]);
    });

    it('G2: a flag that is given twice', () => {
      expect(() => load({ args: ['--log-level', 'info', '--log-level', 'warn'] })).toThrow(
        '--log-level is given 2 times, expected once',
      );
    });

    it('G2: an argument that belongs to no flag', () => {
      expect(() => load({ args: ['now'] })).toThrow(UsageError);
    });
  });

  describe('G3: a port that is none of ours to take is refused', () => {
    it.each(['0', '70000', '-1', '15006.0', '0x3AA0', '"15006"', ' 15006', ''])('G3: hbonePort=%j', (text) => {
      expect(problemsOf({ env: { REMORA_HBONE_PORT: text } })).toEqual([
        expect.stringContaining(`hbonePort=${text} from REMORA_HBONE_PORT is not a port`),
      ]);
    });

    it('G3: a quoted number in the file', () => {
      expect(problemsOf({ yaml: 'hbonePort: "15006"\n' })).toEqual([
        'hbonePort="15006" from /etc/remora.yaml line 1 is not a port, expected a number from 1 to 65535',
      ]);
    });

    it('G3: a port of the sidecar that the proof of inbound capture needs', () => {
      expect(problemsOf({ args: ['--metrics-port', '15002'] })).toEqual([
        'metricsPort=15002 is the port of the canary too, expected each port once',
      ]);
    });

    it('G3: one port for two purposes', () => {
      expect(problemsOf({ args: ['--hbone-port', '15021', '--admin-listen', '127.0.0.1:15006'] })).toEqual([
        'adminListen=15006 is the port of inboundPort too, expected each port once',
        'healthPort=15021 is the port of hbonePort too, expected each port once',
      ]);
    });

    it('G3: a tunnel or a delivery on one of our own ports', () => {
      const tunnel = [
        '--listen',
        '127.0.0.1:15001',
        '--target',
        '127.0.0.1:15006',
        '--peer',
        'spiffe://cluster.local/a',
      ];
      expect(problemsOf({ args: [...tunnel, '--deliver', '127.0.0.1:15000'] })).toEqual([
        'listen=127.0.0.1:15001 is the port of outboundPort, expected another one',
        'target=127.0.0.1:15006 is the port of inboundPort, expected an application',
        'deliver=127.0.0.1:15000 is the port of adminListen, expected an application',
      ]);
    });

    it('G3: one address or port twice', () => {
      const tunnel = ['--listen', '127.0.0.1:5432', '--target', 'db:5432', '--peer', 'spiffe://cluster.local/a'];
      expect(problemsOf({ args: [...tunnel, ...tunnel, '--deliver', '127.0.0.1:80,[::1]:80'] })).toEqual([
        'listen=127.0.0.1:5432 begins two tunnels, expected each address once',
        'deliver has port 80 twice, expected each port once: peers choose the application by its port',
      ]);
    });
  });

  it.each(['-1', '-1s', '1e99', '1e99s', 'NaN', 'Infinity', '5', '5 s', '5S', '', 's', '99999d'])(
    'G4: the duration %j is refused',
    (text) => {
      expect(problemsOf({ env: { REMORA_DRAIN_DEADLINE: text } })).toEqual([
        expect.stringContaining(`drainDeadline=${text} from REMORA_DRAIN_DEADLINE is not a duration`),
      ]);
    },
  );

  it('refuses a duration out of its bounds', () => {
    expect(problemsOf({ args: ['--handshake-timeout', '0s'] })[0]).toContain('(100ms to 1m)');
  });

  it.each([
    'http://control-plane:15012',
    'https://control-plane:15012/path',
    'https://user@control-plane',
    'https://control-plane:0',
    'control-plane:15012',
    'https://',
  ])('refuses %j as the control plane', (url) => {
    expect(problemsOf({ args: ['--control-plane', url] }, [])[0]).toContain(
      `controlPlane=${url} from --control-plane is not an HTTPS address`,
    );
  });

  it('refuses a value of the wrong shape in the file', () => {
    expect(problemsOf({ yaml: 'logLevel: [info]\nmeshNetworks: 10.0.0.0/8\ndrainDeadline:\n' })).toEqual([
      'logLevel in /etc/remora.yaml line 1 has the wrong shape, expected a single value, one of debug, info, warn, error, silent',
      'meshNetworks in /etc/remora.yaml line 2 has the wrong shape, expected a sequence',
      expect.stringContaining('drainDeadline= from /etc/remora.yaml line 3 is not a duration'),
    ]);
  });

  it.each([
    ['NODE_TLS_REJECT_UNAUTHORIZED', '0'],
    ['NODE_TLS_REJECT_UNAUTHORIZED', '1'],
    ['NODE_EXTRA_CA_CERTS', '/ca.pem'],
    ['SSL_CERT_FILE', '/ca.pem'],
    ['SSL_CERT_DIR', '/ca'],
    ['SSLKEYLOGFILE', '/keys'],
    ['OPENSSL_CONF', '/openssl.cnf'],
  ])('refuses to start with %s', (variable, value) => {
    expect(problemsOf({ env: { [variable]: value } })).toEqual([
      expect.stringContaining(`${variable} is set in the environment`),
    ]);
    expect(problemsOf({ env: { [variable]: '' } })).toEqual([]);
  });

  it.each([
    '--inspect',
    '--inspect-brk=0.0.0.0:9229',
    '--inspect_port=1',
    '--tls-keylog=/keys',
    '--tls-min-v1.0',
    '--trace-tls',
    '--openssl-config=/x',
    '--use-system-ca',
    '--heapsnapshot-signal=SIGUSR2',
    '--heap-prof',
  ])('refuses to start with the Node.js flag %s, wherever it is given', (flag) => {
    expect(problemsOf({ nodeFlags: ['--max-old-space-size=64', flag] })).toHaveLength(1);
    expect(problemsOf({ env: { NODE_OPTIONS: `--max-old-space-size=64 "${flag}"` } })).toHaveLength(1);
    expect(problemsOf({ nodeFlags: ['--max-old-space-size=64', '--max-semi-space-size=1'] })).toEqual([]);
  });

  it('refuses to run captured as another user or group than the rules let out', () => {
    expect(problemsOf({ uid: 0, gid: 1337 })).toEqual([expect.stringContaining('runs as uid 0 and gid 1337')]);
    expect(problemsOf({ uid: 1337, gid: 0 })).toHaveLength(1);
    expect(problemsOf({ uid: 1000, gid: 1000, args: ['--rules-uid', '1000', '--rules-gid', '1000'] })).toEqual([]);
  });

  it('refuses to run without a source of certificates, or with a part of one', () => {
    const tunnel = ['--listen', '127.0.0.1:5432', '--target', 'db:5432', '--peer', 'spiffe://cluster.local/a'];
    expect(problemsOf({ args: tunnel }, [])).toEqual([expect.stringContaining('No source of certificates is set')]);
    expect(problemsOf({ args: [...tunnel, '--certificate-file', 'a.pem'] }, [])).toEqual([
      'keyFile and bundleFile is missing, expected certificateFile, keyFile and bundleFile together',
    ]);
  });

  it('takes bundles of other trust domains, each once, and only with certificates in files', () => {
    const files = ['--certificate-file', 'a.pem', '--key-file', 'a.key', '--bundle-file', 'ca.pem'];
    const federated = ['--federated-bundles', 'a.example=a.pem', '--federated-bundles', 'b.example=/b=c.pem'];
    const bundles = [
      { trustDomain: 'a.example', path: 'a.pem' },
      { trustDomain: 'b.example', path: '/b=c.pem' },
    ];
    expect(load({ args: [...files, ...federated] }).settings.federatedBundles).toEqual(bundles);
    const env = { REMORA_FEDERATED_BUNDLES: 'a.example=a.pem,b.example=/b=c.pem' };
    expect(load({ args: files, env }).settings.federatedBundles).toEqual(bundles);
    expect(problemsOf({ args: federated })).toEqual([
      expect.stringContaining('federatedBundles is set without bundleFile'),
    ]);
    expect(
      problemsOf({ args: [...files, ...federated, '--federated-bundles', 'a.example=c,cluster.local=d'] }),
    ).toEqual([
      'federatedBundles names a.example twice, expected one file for each trust domain',
      'federatedBundles names cluster.local, which is this trust domain itself, expected other ones',
    ]);
    for (const bad of ['a.example', '=a.pem', 'a.example=', 'A.example=a.pem', 'spiffe://a.example=a.pem'])
      expect(problemsOf({ args: [...files, '--federated-bundles', bad] })).toHaveLength(1);
  });

  it('refuses an identity of another trust domain', () => {
    expect(problemsOf({ args: ['--spiffe-id', 'spiffe://other/ns/a/sa/b'] })).toEqual([
      'spiffeId=spiffe://other/ns/a/sa/b is not of the trust domain cluster.local, expected both to agree',
    ]);
  });
});

describe('static tunnels', () => {
  const files = ['--certificate-file', 'a.pem', '--key-file', 'a.key', '--bundle-file', 'roots.pem'];
  const peer = 'spiffe://cluster.local/ns/shop/sa/db';
  const asRoot = { uid: 0, gid: 0 };

  it('begin at each --listen, and switch capture off', () => {
    const args = [
      ...files,
      ...['--listen', '127.0.0.1:5432', '--target', 'db.example:5432', '--peer', peer],
      ...['--listen', '[::1]:6379', '--peer', peer, '--via', '10.0.0.9:25008', '--target', '10.0.0.7:6379'],
    ];
    const { settings } = loadAgentSettings(input({ args, ...asRoot }));
    expect(settings.capture).toBe(false);
    expect(settings.tunnels.map(({ peer: { uri }, ...rest }) => ({ ...rest, peer: uri }))).toEqual([
      { listen: { ip: '127.0.0.1', port: 5432 }, target: { host: 'db.example', port: 5432 }, peer, via: undefined },
      {
        listen: { ip: '::1', port: 6379 },
        target: { host: '10.0.0.7', port: 6379 },
        peer,
        via: { host: '10.0.0.9', port: 25008 },
      },
    ]);
  });

  it('are the same in the file and in the environment', () => {
    const yaml = `tunnels:\n  - listen: 127.0.0.1:5432\n    target: db:5432\n    peer: ${peer}\n`;
    const fromFile = loadAgentSettings(input({ args: files, yaml, ...asRoot }));
    const env = { REMORA_TUNNELS: `127.0.0.1:5432 db:5432 ${peer}` };
    const fromVariable = loadAgentSettings(input({ args: files, env, ...asRoot }));
    expect(fromFile.settings.tunnels).toEqual(fromVariable.settings.tunnels);
    expect(fromFile.settings.tunnels).toHaveLength(1);
  });

  it('are refused when a part is missing or has no tunnel', () => {
    expect(() => load({ args: ['--listen', '127.0.0.1:1', '--target', 'db:1'] })).toThrow(
      '--listen 127.0.0.1:1 has no --peer',
    );
    expect(() => load({ args: ['--target', 'db:1'] })).toThrow('--target db:1 belongs to no tunnel');
    expect(() => load({ args: ['--listen', '127.0.0.1:1', '--target', 'a:1', '--target', 'b:1'] })).toThrow(
      '--target is given twice',
    );
    expect(problemsOf({ yaml: 'tunnels: [{ listen: "127.0.0.1:1", target: "db:1" }]\n' })[0]).toContain(
      'tunnels=127.0.0.1:1 db:1 ? from',
    );
    expect(problemsOf({ yaml: 'tunnels: [{ listen: "127.0.0.1:1", tagret: "db:1" }]\n' })[0]).toContain(
      'tunnels in /etc/remora.yaml line 1 has the wrong shape',
    );
  });

  it('listen on loopback unless that is waived', () => {
    const args = [...files, '--listen', '0.0.0.0:5432', '--target', 'db:5432', '--peer', peer];
    expect(problemsOf({ args, ...asRoot }, [])).toEqual([
      'listen=0.0.0.0:5432 can be reached from other hosts in plaintext, expected loopback, or --unsafe-listen true',
    ]);
    expect(problemsOf({ args: [...args, '--unsafe-listen', 'true'], ...asRoot }, [])).toEqual([]);
  });

  it('deliver to loopback only, and to named peers when no control plane decides', () => {
    expect(problemsOf({ args: [...files, '--deliver', '10.0.0.7:80'], ...asRoot }, [])).toEqual([
      'deliver=10.0.0.7:80 from --deliver is not an address on loopback, expected 127.0.0.1:PORT or [::1]:PORT',
    ]);
    expect(problemsOf({ args: [...files, '--deliver', '127.0.0.1:80'], ...asRoot }, [])).toEqual([
      'deliver is set without a control plane, expected allowPeers to name who may connect',
    ]);
    const both = [...files, '--deliver', '127.0.0.1:80', '--allow-peers', peer];
    expect(problemsOf({ args: both, ...asRoot }, [])).toEqual([]);
    expect(problemsOf({ args: [...both, '--capture', 'true'] }, [])).toEqual([
      'deliver is set and capture=true, expected deliver only without capture',
      'capture=true without a control plane, expected controlPlane: policies and destinations come from it',
      'capture=true without meshNetworks, expected the ranges of the pods and Services of the mesh: what is outside them leaves as it is',
    ]);
  });
});

describe('the probes of applications', () => {
  const probes = (port: number) =>
    JSON.stringify({ '/app-health/web/livez': { tcpSocket: { port }, timeoutSeconds: 1 } });

  it('are read from the environment, where the injector writes them', () => {
    expect(load({ env: { REMORA_APP_PROBES: probes(8080) } }).settings.appProbes).toEqual({
      '/app-health/web/livez': { tcpSocket: { port: 8080 }, timeoutSeconds: 1 },
    });
  });

  it('say what part of them is wrong', () => {
    expect(problemsOf({ env: { REMORA_APP_PROBES: probes(0) } })).toEqual([
      `appProbes=${probes(0)} from REMORA_APP_PROBES is not a list of probes, expected a port from 1 to 65535 at /app-health/web/livez tcpSocket.port`,
    ]);
  });

  it('never ask the sidecar itself', () => {
    expect(problemsOf({ env: { REMORA_APP_PROBES: probes(15020) } })).toEqual([
      'appProbes has port 15020 at /app-health/web/livez, the port of metricsPort, expected an application',
    ]);
  });
});

describe('the place of the metrics of an application', () => {
  const place = (text: string) => load({ args: ['--app-metrics', text] }).settings.appMetrics;

  it('is a port and a path', () => {
    expect(place('9102/metrics')).toEqual({ port: 9102, path: '/metrics' });
    expect(place('80/')).toEqual({ port: 80, path: '/' });
    expect(place('8080/a/b?c%5B%5D=d')).toEqual({ port: 8080, path: '/a/b?c%5B%5D=d' });
    expect(load({}).settings.appMetrics).toBeUndefined();
  });

  it.each([
    '9102',
    '/metrics',
    '0/metrics',
    '65536/metrics',
    ':9102/metrics',
    '9102/a b',
    '9102/é',
    '9102/$(HOME)',
    '9102/a\nb',
  ])('is not %j', (text) => {
    expect(problemsOf({ args: ['--app-metrics', text] })[0]).toContain(
      'is not the place of metrics, expected a port and a path such as 9102/metrics',
    );
  });

  it('is never the sidecar itself', () => {
    expect(problemsOf({ args: ['--app-metrics', '9200/metrics', '--metrics-port', '9200'] })).toEqual([
      'appMetrics has port 9200, the port of metricsPort, expected an application',
    ]);
  });
});

describe('a secret in the place of the name of its file', () => {
  const key = '-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----\n';
  it.each([
    ['keyFile', key],
    ['certificateFile', `x\n${key}`],
    ['tokenFile', 'eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl\n'],
    ['deliver', key],
  ])('is refused as %s and not shown', (name, text) => {
    const flag = `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    const problems = problemsOf({ args: [flag, text] });
    expect(problems[0]).toContain(`${name}=a private key or token from ${flag} is not `);
    expect(problems.join()).not.toMatch(/MHcCAQEE|eyJ/);
  });
});

describe('what people read', () => {
  it('documents every setting as docs/configuration.md does', async () => {
    await expect(configurationDocument()).toMatchFileSnapshot('../../docs/configuration.md');
  });

  it('accepts the example file of the documentation', () => {
    const document = readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8');
    const yaml = /```yaml\n([\s\S]*?)```/.exec(document)?.[1] ?? '';
    expect(loadAgentSettings(input({ yaml })).settings.meshNetworks).toEqual(['10.0.0.0/8', 'fd00::/8']);
  });

  it('lists every flag in the help', () => {
    const help = agentCommand().helpInformation();
    for (const flag of ['--config', '--listen', '--via', '--drain-deadline', '--rules-uid'])
      expect(help).toContain(flag);
    expect(help).not.toContain('--tunnels');
  });
});
