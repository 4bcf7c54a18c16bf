import { readBoundedFile } from '../bounded-file.ts';
import { systemClock } from '../clock.ts';
import { appended, createCommand, parseCommandLine } from '../command-line.ts';
import { shown } from '../config/given.ts';
import { nearest } from '../config/nearest.ts';
import { overrideProblems } from '../config/overrides.ts';
import { formatDuration } from '../durations.ts';
import { exitCodes, UsageError } from '../errors.ts';
import { watchEventLoop } from '../event-loop-lag.ts';
import type { Host, Subcommand } from '../host.ts';
import { hideMemory } from '../libc.ts';
import { createLog, logLevels } from '../log.ts';
import { controlPlanePorts } from '../ports.ts';
import { controlPlaneDefaults, startControlPlane } from './control-plane.ts';
import type { ControlPlaneFlags } from './settings.ts';
import { readControlPlaneSettings } from './settings.ts';

interface Word {
  readonly does: string;
  load(): Promise<{ readonly run: Subcommand }>;
}

/** The words behind `remora control-plane`. Loaded when they are used. */
const words: Readonly<Record<string, Word>> = {
  revoke: {
    does: 'revokes a certificate or an identity, lists what is revoked, or lifts it',
    load: () => import('./revocation/revoke-command.ts'),
  },
  'rotate-root': {
    does: 'replaces the root of a mesh, step by step, while it runs',
    load: () => import('./rotate-root-command.ts'),
  },
};

/** `remora control-plane`: a word of the table, or the server. */
export const run: Subcommand = async (host) => {
  const [name = '', ...args] = host.args;
  const word = Object.hasOwn(words, name) ? words[name] : undefined;
  if (word !== undefined) return (await word.load()).run({ ...host, args });
  if (name !== '' && !name.startsWith('-')) throw new UsageError(unknownWord(name));
  return serve(host);
};

function unknownWord(name: string): string {
  const known = Object.keys(words);
  const meant = nearest(name, known);
  const hint = meant === undefined ? `expected options, or one of ${known.join(', ')}` : `did you mean ${meant}?`;
  return `control-plane has no command '${shown(name)}', ${hint}`;
}

/** Serves until SIGTERM or SIGINT; a second signal a second later ends it at once. */
const serve: Subcommand = async (host) => {
  const parsed = parseCommandLine<ControlPlaneFlags>(commandLine(), host);
  if (parsed.kind === 'done') return parsed.exitCode;
  hideMemory();
  const { injection } = parsed.options;
  const { settings, logLevel } = readControlPlaneSettings(parsed.options, {
    problems: overrideProblems(host.env, host.nodeFlags),
    injection: injection === undefined ? undefined : await textOf(injection),
  });
  const log = createLog(logLevel);
  // Before the start, so that a signal during it ends in a clean stop too.
  const stopped = stopSignal(host);
  const controlPlane = await startControlPlane({ clock: systemClock, log }, settings);
  const eventLoop = watchEventLoop({ clock: systemClock, log, record: controlPlane.eventLoopLagged });
  const signal = await stopped;
  log.info({ signal }, 'Control plane stopping');
  await controlPlane.close();
  eventLoop.close();
  log.info('Control plane stopped');
  return exitCodes.ok;
};

/** Characters are at most bytes, and the settings say how many of them there may be. */
const maxInjectionBytes = 256 * 1024;

/** The text of a file, or why there is none. */
function textOf(path: string): Promise<string | Error> {
  return readBoundedFile(path, maxInjectionBytes).then(String, (error: Error) => error);
}

/** Ctrl-C may arrive twice within a millisecond, from the terminal and from npm: that is one signal. */
const sameSignalMs = 1_000;

function stopSignal(host: Host): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  let firstMs: number | undefined;
  host.onStopSignal((signal) => {
    const nowMs = systemClock.monotonic();
    if (firstMs !== undefined && nowMs - firstMs > sameSignalMs) host.exit(signal === 'SIGINT' ? 130 : 143);
    firstMs ??= nowMs;
    resolve(signal);
  });
  return promise;
}

function commandLine() {
  const { trustDomain, clusterName, rootNamespace, certificateLifetimeMs } = controlPlaneDefaults;
  return createCommand('control-plane', 'Runs the certificate authority, discovery and policy server of a mesh')
    .option(
      '--state-dir <directory>',
      'keep the root and the key of tokens here, private to this user; made when it is not there',
    )
    .option(
      '--authority <directory>',
      'read them from the files in it, which `remora authority` made; nothing is written',
    )
    .option('--in-memory', 'keep them in memory: a restart is a new authority that no sidecar trusts')
    .option(
      '--registry <directory>',
      'read Pods, Services and EndpointSlices from the YAML files in it, and again when they change',
    )
    .option('--registry-optional', 'start without an object in it: until there is one everybody is refused')
    .option('--trust-domain <name>', 'name that identities begin with', trustDomain)
    .option('--cluster-name <name>', "what Istio's metrics call this cluster", clusterName)
    .option('--root-namespace <name>', 'namespace whose policies hold for the whole mesh', rootNamespace)
    .option(
      '--certificate-lifetime <duration>',
      'longest lifetime of workload certificates',
      formatDuration(certificateLifetimeMs),
    )
    .option('--listen <address>', 'certificates, discovery and policy over TLS', `:${controlPlanePorts.api}`)
    .option('--metrics-listen <address>', 'metrics and health in plain HTTP', `:${controlPlanePorts.metrics}`)
    .option(
      '--injection <file>',
      'answer the admission reviews of a cluster: YAML file of settings for the sidecars that are injected',
    )
    .option(
      '--webhook-listen <address>',
      `admission reviews over TLS, with --injection (default: ":${controlPlanePorts.webhook}")`,
    )
    .option(
      '--serving-name <name>',
      'DNS name or address that sidecars dial, besides localhost; may be repeated',
      appended,
    )
    .option(
      '--trust-bundle <domain=file>',
      'roots of another trust domain, PEM or a SPIFFE bundle document, read again when they change; may be repeated',
      appended,
    )
    .option('--write-root <file>', 'write the root certificates there, PEM, for sidecars to trust')
    .option(
      '--admin-socket <path>',
      'unix socket for `remora control-plane rotate-root` (default: admin.sock in the state directory)',
    )
    .option('--token-issuer <uri>', 'issuer of the tokens that are accepted (default: spiffe://<trust domain>)')
    .option(
      '--token-keys <file>',
      'keys of the tokens that are accepted, a JWK set as `kubectl get --raw /openid/v1/jwks` prints it; read again when it changes',
    )
    .option(
      '--revocations <file>',
      'what `remora control-plane revoke` writes; read again when it changes (default: revocations.json in the state directory)',
    )
    .option(
      '--crl <file>',
      'CRLs of other authorities, PEM or DER; read again when they change; may be repeated',
      appended,
    )
    .option(
      '--stale-crl <choice>',
      'while a CRL is missing or out of date: accept goes by what is known, refuse trusts nobody new',
      controlPlaneDefaults.staleCrl,
    )
    .option('--log-level <level>', logLevels.join(', '), 'info')
    .addHelpText('after', `${wordLines()}${examples}`);
}

function wordLines(): string {
  const lines = Object.entries(words).map(([name, { does }]) => `  ${name.padEnd(13)}${does}`);
  return ['', 'Commands (each has its --help):', ...lines, ''].join('\n');
}

const examples = `
One of --state-dir, --authority and --in-memory is needed. Addresses are PORT, IP:PORT or [IPV6]:PORT.

  remora control-plane --in-memory --registry ./registry --write-root ./root.pem
  remora control-plane --state-dir /var/lib/remora --serving-name control-plane.remora-system.svc

  remora token --state-dir /var/lib/remora --namespace shop --service-account web --pod web-0
  remora control-plane revoke --state-dir /var/lib/remora --identity spiffe://cluster.local/ns/shop/sa/web
  remora control-plane rotate-root --state-dir /var/lib/remora

In a cluster, with the authority that \`remora authority\` made:

  remora control-plane --authority /etc/remora/authority --registry /etc/remora/registry \\
    --injection /etc/remora/injection.yaml --serving-name remora-control-plane.remora-system.svc \\
    --token-keys /etc/remora/jwks.json --token-issuer https://kubernetes.default.svc.cluster.local`;
