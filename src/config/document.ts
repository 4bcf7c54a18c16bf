import type { Setting } from './setting.ts';
import { flagOf, variableOf } from './setting.ts';
import { sections } from './table.ts';
import { tunnelParts } from './tunnel.ts';

/** The reference of all settings, as docs/configuration.md carries it; Markdown. */
export function configurationDocument(): string {
  return [...preamble, ...sections.flatMap(({ title, settings }) => section(title, settings)), ...examples].join('\n');
}

const preamble = [
  '# Settings of `remora agent`',
  '',
  '<!-- Made from src/config/table.ts; a test compares both. -->',
  '',
  'A setting such as `drainDeadline` has a flag, `--drain-deadline 45s`, an environment variable, `REMORA_DRAIN_DEADLINE=45s`,',
  'and a key in the YAML file that `--config FILE` or `REMORA_CONFIG` names, `drainDeadline: 45s`. Flags override the environment,',
  'the environment overrides the file, the file overrides the defaults.',
  '',
  '- Durations and sizes need a unit: `500ms`, `30s`, `1h30m`; `64KiB`, `16MiB`.',
  '- A list is a YAML sequence; in a flag or a variable its elements are separated by commas, and the flag may be given again.',
  '- Ports, whole numbers, fractions and booleans are not quoted in YAML. Anchors and aliases are refused, and so is an empty file.',
  '- Everything is checked before the sidecar starts. It lists every problem, each in one sentence, and exits with 78 (2 when the',
  '  command line itself cannot be understood). A name that is not a setting is refused in every place, because a typo would be a',
  '  silent hole; the variables that Kubernetes makes for Services (`REMORA_…_SERVICE_HOST`, `REMORA_…_PORT`) are let pass.',
  '- The sidecar refuses to start while `NODE_TLS_REJECT_UNAUTHORIZED`, `NODE_EXTRA_CA_CERTS`, `SSL_CERT_FILE`, `SSL_CERT_DIR`,',
  '  `SSLKEYLOGFILE` or `OPENSSL_CONF` is set, or with flags of Node.js that change TLS, open a debugger or write memory to a file.',
  '',
];

function section(title: string, settings: Readonly<Record<string, Setting<unknown>>>): string[] {
  return [
    `## ${title}`,
    '',
    '| key | value | default | decides |',
    '|---|---|---|---|',
    ...Object.entries(settings).map(([name, setting]) => row(name, setting)),
    '',
    ...(notes[title] ?? []),
  ];
}

function row(name: string, setting: Setting<unknown>): string {
  const names = name === 'tunnels' ? tunnelParts.map((part) => `\`--${part}\``).join(' ') : `\`--${flagOf(name)}\``;
  const cells = [
    `\`${name}\`<br>${names}<br>\`${variableOf(name)}\``,
    setting.kind.expected,
    defaultOf(setting),
    setting.does,
  ];
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}

export function defaultOf({ kind, default: value, defaultDoc }: Setting<unknown>): string {
  if (defaultDoc !== undefined) return defaultDoc;
  const text = kind.show(value);
  return text === '' ? 'empty' : `\`${text}\``;
}

const notes: Readonly<Record<string, readonly string[]>> = {
  'Static tunnels': [
    'Without capture the sidecar is a pair of tunnel ends that applications use knowingly, as with ghostunnel.',
    '',
    '*The client end.* Each `--listen` begins a tunnel to which the `--target`, `--peer` and `--via` behind it belong. An application dials',
    '`--listen` in plaintext. The connection is carried, over mutual TLS, to the sidecar on the host of `--target` (on `hbonePort`, or where',
    '`--via` says), which must prove the identity `--peer`; that sidecar is asked for `--target`. In the environment a tunnel is',
    '`LISTEN TARGET PEER [VIA]`, in the file a mapping with these four keys.',
    '',
    '*The server end.* Peers connect to `hbonePort` and ask for an address and a port. The port must be one of `deliver`, and the connection goes',
    'to that address on loopback, whatever address was asked for: nothing but the declared applications can be reached. `allowPeers` names the',
    'identities that may connect, byte for byte; with a control plane its policies decide instead.',
    '',
  ],
  Certificates: [
    'Certificates come from the control plane, or from three files that something else keeps fresh. The files win when both are set; the control',
    'plane then tells policies and destinations only. How a bundle is read, and what happens to one that is bad, is in',
    '[identity.md](identity.md#trust-bundles).',
    '',
    'Revocation lists count beside what the control plane revokes, and wherever certificates come from:',
    '[identity.md](identity.md#revocation).',
    '',
  ],
};

const examples = [
  '## Examples',
  '',
  'Both ends of one tunnel, certificates from files:',
  '',
  '```sh',
  '# beside the database',
  'remora agent --certificate-file db.pem --key-file db.key --bundle-file roots.pem \\',
  '  --deliver 127.0.0.1:5432 --allow-peers spiffe://cluster.local/ns/shop/sa/web',
  '',
  '# beside the application',
  'remora agent --certificate-file web.pem --key-file web.key --bundle-file roots.pem \\',
  '  --listen 127.0.0.1:5432 --target db.example:5432 --peer spiffe://cluster.local/ns/shop/sa/db',
  '```',
  '',
  'A file of settings:',
  '',
  '```yaml',
  'trustDomain: cluster.local',
  'controlPlane: https://remora-control-plane.remora-system.svc:15012',
  'meshNetworks: [10.0.0.0/8, "fd00::/8"]',
  'drainDeadline: 45s',
  'tunnels:',
  '  - listen: 127.0.0.1:5432',
  '    target: db.example:5432',
  '    peer: spiffe://cluster.local/ns/shop/sa/db',
  '```',
  '',
];
