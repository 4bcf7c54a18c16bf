import * as v from 'valibot';
import { messageOf } from './errors.ts';

/**
 * The probes and hooks of a pod's applications as the sidecar answers them on its metrics port: under STRICT the kubelet,
 * which has no identity, cannot reach the application itself. The words are those of Kubernetes' `Probe`; everything that
 * has a default there is written out, and ports are numbers.
 */
export type AppProbe = HttpProbe | TcpProbe | GrpcProbe;

export interface HttpProbe extends Timed {
  readonly httpGet: {
    /** As the pod has it, with its query; without a leading slash one is put in front, as the kubelet does. */
    readonly path: string;
    readonly port: number;
    readonly scheme: 'HTTP' | 'HTTPS';
    /** In order; a name may come twice. */
    readonly httpHeaders: readonly { readonly name: string; readonly value: string }[];
  };
}

export interface TcpProbe extends Timed {
  readonly tcpSocket: { readonly port: number };
}

export interface GrpcProbe extends Timed {
  /** An empty service asks for the health of the whole server. */
  readonly grpc: { readonly port: number; readonly service: string };
}

interface Timed {
  /** For the whole probe, redirects included. */
  readonly timeoutSeconds: number;
}

/** The port of the application that a probe asks. */
export function portOfProbe(probe: AppProbe): number {
  if ('httpGet' in probe) return probe.httpGet.port;
  return 'grpc' in probe ? probe.grpc.port : probe.tcpSocket.port;
}

/** Probes by the path under which the sidecar answers them. */
export type AppProbes = Readonly<Record<string, AppProbe>>;

export const appProbePrefix = '/app-health/';

const lastElements = {
  livenessProbe: 'livez',
  readinessProbe: 'readyz',
  startupProbe: 'startupz',
  postStart: 'poststartz',
  preStop: 'prestopz',
} as const;

/** What is rewritten in a container, by its field. */
export type AppProbeField = keyof typeof lastElements;

/** Beyond these a text is refused: an environment of a process has bounds of its own. */
export const appProbeLimits = {
  probes: 256,
  textBytes: 64 * 1024,
  pathLength: 2048,
  headers: 64,
  maxTimeoutSeconds: 3600,
};

/** Where the sidecar answers a probe or hook of a container, such as `/app-health/web/livez`. */
export function appProbePath(container: string, field: AppProbeField): string {
  return `${appProbePrefix}${container}/${lastElements[field]}`;
}

/** A container is a DNS label (RFC 1123). */
const answeredPath = new RegExp(
  `^${appProbePrefix}([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)/(${Object.values(lastElements).join('|')})$`,
);

/** Whose probe a path answers, and whether it is one of the hooks; undefined when it is no path of `appProbePath`. */
export function ownerOf(path: string): { readonly container: string; readonly isHook: boolean } | undefined {
  const [, container, last] = answeredPath.exec(path) ?? [];
  if (container === undefined) return undefined;
  return { container, isHook: last === lastElements.postStart || last === lastElements.preStop };
}

const hasControl = /[\p{Cc}\p{Zl}\p{Zp}]/u;
const isPrintable = (text: string) => text.isWellFormed() && !hasControl.test(text);

const portWords = 'a port from 1 to 65535';
const port = v.pipe(v.number(portWords), v.integer(portWords), v.minValue(1, portWords), v.maxValue(65_535, portWords));

const { pathLength, headers, maxTimeoutSeconds } = appProbeLimits;
const timeoutWords = `a whole number from 1 to ${maxTimeoutSeconds}`;
const pathWords = `a path of 1 to ${pathLength} printable characters`;
const nameWords = 'the name of an HTTP header';
const valueWords = 'the printable value of an HTTP header';
const serviceWords = 'the name of a gRPC service';
const headersWords = `a list of at most ${headers} headers`;

/** RFC 9110 §5.6.2, a token. */
const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}$/;

const header = v.strictObject(
  {
    name: v.pipe(v.string(nameWords), v.regex(token, nameWords)),
    value: v.pipe(
      v.string(valueWords),
      v.maxLength(8192, valueWords),
      v.check((text) => isPrintable(text.replaceAll('\t', ' ')), valueWords),
    ),
  },
  'name, value and nothing else',
);

const httpGet = v.strictObject(
  {
    path: v.pipe(
      v.string(pathWords),
      v.minLength(1, pathWords),
      v.maxLength(pathLength, pathWords),
      v.check(isPrintable, pathWords),
      v.transform((text) => (text.startsWith('/') ? text : `/${text}`)),
    ),
    port,
    scheme: v.optional(v.picklist(['HTTP', 'HTTPS'], 'HTTP or HTTPS'), 'HTTP'),
    httpHeaders: v.optional(v.pipe(v.array(header, headersWords), v.maxLength(headers, headersWords)), []),
  },
  'path, port, scheme, httpHeaders and nothing else',
);

const tcpSocket = v.strictObject({ port }, 'port and nothing else');

const grpc = v.strictObject(
  {
    port,
    service: v.optional(
      v.pipe(v.string(serviceWords), v.maxLength(1024, serviceWords), v.check(isPrintable, serviceWords)),
      '',
    ),
  },
  'port, service and nothing else',
);

const kinds = ['httpGet', 'tcpSocket', 'grpc'] as const;
const timeoutSeconds = v.pipe(
  v.number(timeoutWords),
  v.integer(timeoutWords),
  v.minValue(1, timeoutWords),
  v.maxValue(maxTimeoutSeconds, timeoutWords),
);

const probe = v.pipe(
  v.strictObject(
    { httpGet: v.optional(httpGet), tcpSocket: v.optional(tcpSocket), grpc: v.optional(grpc), timeoutSeconds },
    'one of httpGet, tcpSocket, grpc, then timeoutSeconds and nothing else',
  ),
  v.check(
    (given) => kinds.filter((kind) => given[kind] !== undefined).length === 1,
    `exactly one of ${kinds.join(', ')}`,
  ),
  v.transform((given) => given as unknown as AppProbe),
);

export type ParsedAppProbes =
  | { readonly kind: 'value'; readonly value: AppProbes }
  /** Completes "…, expected". */
  | { readonly kind: 'problem'; readonly expected: string };

const problem = (expected: string): ParsedAppProbes => ({ kind: 'problem', expected });
const wholeWords = 'a JSON object of probes by path';

/**
 * Reads the text of the setting `appProbes`: a JSON object such as
 * `{"/app-health/web/livez":{"httpGet":{"path":"/healthz","port":8080},"timeoutSeconds":3}}`. An unknown field is refused.
 */
export function parseAppProbes(text: string): ParsedAppProbes {
  const { probes: most, textBytes } = appProbeLimits;
  if (text.length > textBytes || Buffer.byteLength(text) > textBytes) return problem(`at most ${textBytes} bytes`);
  let value: unknown;
  try {
    value = JSON.parse(text, refuseInherited);
  } catch (error) {
    return problem(`${wholeWords} (${messageOf(error).slice(0, 120)})`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return problem(wholeWords);
  const entries = Object.entries(value);
  if (entries.length > most) return problem(`at most ${most} probes`);
  const read: [string, AppProbe][] = [];
  for (const [path, given] of entries) {
    const result = readProbe(path, given);
    if (typeof result === 'string') return problem(result);
    read.push([path, result]);
  }
  return { kind: 'value', value: Object.fromEntries(read) };
}

/** A name that every object inherits would pass for a known field. */
function refuseInherited(key: string, value: unknown): unknown {
  if (key === '__proto__' || key in Object.prototype) throw new SyntaxError(`The name ${key} is not allowed`);
  return value;
}

/** The probe, or what was expected. */
function readProbe(path: string, given: unknown): AppProbe | string {
  if (ownerOf(path) === undefined) {
    const lasts = Object.values(lastElements).join(', ');
    return `paths such as ${appProbePath('web', 'livenessProbe')}, a container and then one of ${lasts}`;
  }
  const result = v.safeParse(probe, given);
  if (result.success) return result.output;
  const where = v.getDotPath(result.issues[0])?.slice(0, 80);
  return `${result.issues[0].message} at ${path}${where === undefined ? '' : ` ${where}`}`;
}

/** The text that `parseAppProbes` reads back; the same probes in the same order give the same text. */
export function formatAppProbes(probes: AppProbes): string {
  return JSON.stringify(probes);
}
