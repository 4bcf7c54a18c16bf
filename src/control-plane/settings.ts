import { join } from 'node:path';
import { canonicalIp, parsePort, splitHostPort } from '../addresses.ts';
import { federatedBundle, federationProblems } from '../config/federated-bundle.ts';
import { duration } from '../config/kinds.ts';
import { ConfigurationError, messageOf } from '../errors.ts';
import { isTrustDomain } from '../identity/spiffe-id.ts';
import type { InjectionSettings } from '../injector/settings.ts';
import { readInjectionSettings } from '../injector/settings.ts';
import type { LogLevel } from '../log.ts';
import { logLevels } from '../log.ts';
import { controlPlanePorts } from '../ports.ts';
import { adminSocketIn } from './admin-client.ts';
import { lifetimeBoundsMs } from './authority.ts';
import type { AuthorityKeySource, ControlPlaneSettings } from './control-plane.ts';
import { controlPlaneDefaults } from './control-plane.ts';
import type { ListenAddress } from './listen.ts';
import { isDnsLabel, isDnsSubdomain } from './names.ts';
import { revocationsFileName } from './revocation/list-file.ts';
import { staleCrlChoices } from './revocation/revocations.ts';

/** The options of `remora control-plane` as commander hands them over. */
export interface ControlPlaneFlags {
  readonly listen: string;
  readonly metricsListen: string;
  readonly webhookListen?: string;
  readonly trustDomain: string;
  readonly clusterName: string;
  readonly rootNamespace: string;
  readonly stateDir?: string;
  readonly authority?: string;
  readonly inMemory?: true;
  readonly registry?: string;
  readonly registryOptional?: true;
  readonly certificateLifetime: string;
  readonly servingName?: readonly string[];
  readonly tokenIssuer?: string;
  readonly tokenKeys?: string;
  readonly injection?: string;
  readonly revocations?: string;
  readonly crl?: readonly string[];
  readonly staleCrl: string;
  readonly trustBundle?: readonly string[];
  readonly writeRoot?: string;
  readonly adminSocket?: string;
  readonly logLevel: string;
}

/** What was given besides the flags. */
export interface ControlPlaneSurroundings {
  /** What was found already. */
  readonly problems: readonly string[];
  /** The text of the file of `--injection`, or why it cannot be read; undefined without the flag. */
  readonly injection: string | Error | undefined;
}

/** How a lifetime is written. */
export const certificateLifetime = duration(lifetimeBoundsMs.shortest, lifetimeBoundsMs.longest);

/** Throws `ConfigurationError` with every problem of the flags and of the file of the injector. */
export function readControlPlaneSettings(
  flags: ControlPlaneFlags,
  { problems, injection: injectionText }: ControlPlaneSurroundings,
): { readonly settings: ControlPlaneSettings; readonly logLevel: LogLevel } {
  const found = [...problems];
  const check = <T>(
    flag: string,
    text: string,
    parse: (text: string) => T | undefined,
    expected: string,
  ): T | undefined => {
    const value = parse(text);
    if (value === undefined) found.push(`--${flag}=${text} is not usable, expected ${expected}`);
    return value;
  };
  const that = (isValid: (text: string) => boolean) => (text: string) => (isValid(text) ? text : undefined);
  const address = 'a port or an address with a port such as :15012, 127.0.0.1:15012 or [::1]:15012';
  const checkAddress = (flag: string, text: string) => check(flag, text, parseListenAddress, address);

  const listen = checkAddress('listen', flags.listen);
  const metricsListen = checkAddress('metrics-listen', flags.metricsListen);
  const webhookListen = checkAddress('webhook-listen', flags.webhookListen ?? `:${controlPlanePorts.webhook}`);
  const trustDomain = check(
    'trust-domain',
    flags.trustDomain,
    that(isTrustDomain),
    'a trust domain such as cluster.local',
  );
  check('root-namespace', flags.rootNamespace, that(isDnsLabel), 'the name of a namespace such as istio-system');
  check('cluster-name', flags.clusterName, that(isClusterName), 'a name of letters, digits, -, _ and dots');
  const lifetimeMs = check(
    'certificate-lifetime',
    flags.certificateLifetime,
    certificateLifetime.parse,
    certificateLifetime.expected,
  );
  const logLevel = check('log-level', flags.logLevel, choiceOf(logLevels), logLevels.join(', '));
  const staleCrl = check('stale-crl', flags.staleCrl, choiceOf(staleCrlChoices), staleCrlChoices.join(' or '));
  for (const name of flags.servingName ?? [])
    check('serving-name', name, that(isServingName), 'a DNS name or an IP address');
  const federatedBundles = (flags.trustBundle ?? []).flatMap(
    (text) => check('trust-bundle', text, federatedBundle.parse, federatedBundle.expected) ?? [],
  );
  found.push(...federationProblems('--trust-bundle', federatedBundles, trustDomain));
  if (flags.tokenIssuer !== undefined) check('token-issuer', flags.tokenIssuer, that(isUri), 'a URI');
  found.push(...contradictions(flags));
  const webhookPort = flags.injection === undefined ? {} : { '--webhook-listen': webhookListen };
  found.push(...portProblems({ '--listen': listen, '--metrics-listen': metricsListen, ...webhookPort }));
  const injection = injectionOf(flags, injectionText, found);
  if (injection !== undefined && trustDomain !== undefined && injection.trustDomain !== trustDomain)
    found.push(
      `trustDomain in ${flags.injection} is ${injection.trustDomain}, expected ${trustDomain} as --trust-domain says: sidecars would trust nobody`,
    );
  if (
    found.length > 0 ||
    !listen ||
    !metricsListen ||
    !webhookListen ||
    !trustDomain ||
    !lifetimeMs ||
    !logLevel ||
    !staleCrl
  )
    throw new ConfigurationError(found);
  return {
    logLevel,
    settings: {
      ...controlPlaneDefaults,
      trustDomain,
      clusterName: flags.clusterName,
      rootNamespace: flags.rootNamespace,
      listen,
      metricsListen,
      webhook: injection && { listen: webhookListen, injection },
      keys: keysOf(flags),
      registry: flags.registry,
      isRegistryOptional: flags.registryOptional,
      certificateLifetimeMs: lifetimeMs,
      servingNames: flags.servingName ?? [],
      tokenIssuer: flags.tokenIssuer,
      tokenKeysFile: flags.tokenKeys,
      federatedBundles,
      writeRoot: flags.writeRoot,
      adminSocket: flags.adminSocket ?? (flags.stateDir === undefined ? undefined : adminSocketIn(flags.stateDir)),
      revocationsFile: revocationsFileOf(flags),
      crlFiles: flags.crl ?? [],
      staleCrl,
    },
  };
}

function keysOf({ stateDir, authority }: ControlPlaneFlags): AuthorityKeySource {
  if (stateDir !== undefined) return { kind: 'state', directory: stateDir };
  return authority === undefined ? { kind: 'memory' } : { kind: 'authority', directory: authority };
}

/** Each state directory has one, so that nobody asks which of two counts. */
function revocationsFileOf({ stateDir, revocations }: ControlPlaneFlags): string | undefined {
  return stateDir === undefined ? revocations : join(stateDir, revocationsFileName);
}

function contradictions(flags: ControlPlaneFlags): string[] {
  const problems: string[] = [];
  if ([flags.stateDir, flags.authority, flags.inMemory].filter((one) => one !== undefined).length !== 1) {
    problems.push(
      'Expected one of --state-dir, --authority and --in-memory: keys in a directory survive a restart, keys in memory do not',
    );
  }
  if (flags.tokenKeys !== undefined && flags.tokenIssuer === undefined)
    problems.push('--token-keys is given without --token-issuer, expected the issuer whose keys they are');
  if (flags.revocations !== undefined && flags.stateDir !== undefined)
    problems.push(`--revocations is given with --state-dir, expected ${revocationsFileName} in that directory alone`);
  if (new Set(flags.crl).size !== (flags.crl ?? []).length) problems.push('--crl names a file twice, expected it once');
  if (flags.webhookListen !== undefined && flags.injection === undefined)
    problems.push(
      '--webhook-listen is given without --injection, expected the file of settings that the webhook needs',
    );
  if (flags.injection !== undefined && (flags.servingName ?? []).length === 0)
    problems.push(
      '--injection is given without --serving-name, expected the name by which API servers call, such as remora-control-plane.remora-system.svc',
    );
  return problems;
}

function portProblems(listeners: Readonly<Record<string, ListenAddress | undefined>>): string[] {
  const flagOfPort = new Map<number, string>();
  const problems: string[] = [];
  for (const [flag, address] of Object.entries(listeners)) {
    if (address === undefined) continue;
    const other = flagOfPort.get(address.port);
    if (other !== undefined) problems.push(`${other} and ${flag} both use port ${address.port}, expected two ports`);
    flagOfPort.set(address.port, flag);
  }
  return problems;
}

/** Also when something else is wrong, to say everything at once: then `ConfigurationError` has `found` too. */
function injectionOf(
  { injection: path }: ControlPlaneFlags,
  text: string | Error | undefined,
  found: readonly string[],
): InjectionSettings | undefined {
  if (path === undefined || text === undefined) return undefined;
  if (text instanceof Error)
    throw new ConfigurationError([...found, `${messageOf(text)}, expected a YAML file of settings of the injector`]);
  return readInjectionSettings({ path, text }, [], found);
}

function choiceOf<T extends string>(choices: readonly T[]): (text: string) => T | undefined {
  return (text) => choices.find((choice) => choice === text);
}

function parseListenAddress(text: string): ListenAddress | undefined {
  const everywhere = parsePort(text.replace(/^:/, ''));
  if (everywhere !== undefined) return { port: everywhere };
  const parts = splitHostPort(text);
  const ip = parts && canonicalIp(parts.host);
  return parts === undefined || ip === undefined ? undefined : { ip, port: parts.port };
}

function isServingName(text: string): boolean {
  return canonicalIp(text) !== undefined || isDnsSubdomain(text);
}

/** As a label of metrics. */
function isClusterName(text: string): boolean {
  return text.length <= 253 && /^[A-Za-z0-9][-A-Za-z0-9_.]*$/.test(text);
}

/** RFC 7519 4.1.1: an issuer with a colon is a URI. */
function isUri(text: string): boolean {
  return text.length <= 255 && URL.canParse(text);
}
