import { canonicalIp, parsePort, splitHostPort } from '../addresses.ts';
import { duration } from '../config/kinds.ts';
import { ConfigurationError } from '../errors.ts';
import { isTrustDomain } from '../identity/spiffe-id.ts';
import type { LogLevel } from '../log.ts';
import { logLevels } from '../log.ts';
import { lifetimeBoundsMs } from './authority.ts';
import type { ControlPlaneSettings } from './control-plane.ts';
import { controlPlaneDefaults } from './control-plane.ts';
import type { ListenAddress } from './listen.ts';
import { isDnsSubdomain } from './names.ts';

/** The options of `remora control-plane` as commander hands them over. */
export interface ControlPlaneFlags {
  readonly listen: string;
  readonly metricsListen: string;
  readonly trustDomain: string;
  readonly stateDir?: string;
  readonly inMemory?: true;
  readonly registry?: string;
  readonly certificateLifetime: string;
  readonly servingName?: readonly string[];
  readonly tokenIssuer?: string;
  readonly writeRoot?: string;
  readonly logLevel: string;
}

/** How a lifetime is written. */
export const certificateLifetime = duration(lifetimeBoundsMs.shortest, lifetimeBoundsMs.longest);

/** Throws `ConfigurationError` with `problems` and every problem of the flags. */
export function readControlPlaneSettings(
  flags: ControlPlaneFlags,
  problems: readonly string[],
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

  const listen = check('listen', flags.listen, parseListenAddress, address);
  const metricsListen = check('metrics-listen', flags.metricsListen, parseListenAddress, address);
  const trustDomain = check(
    'trust-domain',
    flags.trustDomain,
    that(isTrustDomain),
    'a trust domain such as cluster.local',
  );
  const lifetimeMs = check(
    'certificate-lifetime',
    flags.certificateLifetime,
    certificateLifetime.parse,
    certificateLifetime.expected,
  );
  const logLevel = check(
    'log-level',
    flags.logLevel,
    (text) => logLevels.find((level) => level === text),
    logLevels.join(', '),
  );
  for (const name of flags.servingName ?? [])
    check('serving-name', name, that(isServingName), 'a DNS name or an IP address');
  if (flags.tokenIssuer !== undefined) check('token-issuer', flags.tokenIssuer, that(isUri), 'a URI');
  if ((flags.stateDir === undefined) === (flags.inMemory === undefined)) {
    found.push(
      'Expected one of --state-dir and --in-memory: keys in a directory survive a restart, keys in memory do not',
    );
  }
  if (listen !== undefined && metricsListen !== undefined && listen.port === metricsListen.port) {
    found.push(`--listen and --metrics-listen both use port ${listen.port}, expected two ports`);
  }
  if (found.length > 0 || !listen || !metricsListen || !trustDomain || !lifetimeMs || !logLevel)
    throw new ConfigurationError(found);
  return {
    logLevel,
    settings: {
      ...controlPlaneDefaults,
      trustDomain,
      listen,
      metricsListen,
      stateDirectory: flags.stateDir,
      registry: flags.registry,
      certificateLifetimeMs: lifetimeMs,
      servingNames: flags.servingName ?? [],
      tokenIssuer: flags.tokenIssuer,
      writeRoot: flags.writeRoot,
    },
  };
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

/** RFC 7519 4.1.1: an issuer with a colon is a URI. */
function isUri(text: string): boolean {
  return text.length <= 255 && URL.canParse(text);
}
