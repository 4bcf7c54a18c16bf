import type { PermittedEndpoint } from '../../policy/permit.ts';

/** What the sidecar knows of endpoints by its own connections to them. */
export interface Standing {
  /** Our connections to it that are open or being opened. */
  connections(endpoint: PermittedEndpoint): number;
  /** Whether it could not be reached lately, so that others go first. */
  isSetAside(endpoint: PermittedEndpoint): boolean;
}

/** What this connection, and those before it, make of the choice. */
export interface Leaning {
  /** By this connection, in vain. */
  readonly tried: readonly PermittedEndpoint[];
  /** The key of the endpoint that all connections to this destination go to; undefined without affinity. */
  readonly kept: string | undefined;
}

/**
 * The endpoint to dial next, or undefined when none is left: of two that are drawn at random the one with fewer of our
 * connections. What is set aside is taken only when there is nothing else, so that our memory of failures never refuses
 * a connection.
 *
 * Whoever cuts handshakes must not be able to choose plaintext by it: whether it is mutual TLS is drawn before failures are
 * looked at, and it is never plaintext after mutual TLS was tried. Costs no more for a thousand endpoints than for two, unless most
 * of them are set aside.
 */
export function choose(
  endpoints: readonly PermittedEndpoint[],
  { tried, kept }: Leaning,
  standing: Standing,
  random: () => number,
): PermittedEndpoint | undefined {
  const isPlain = ({ transport }: PermittedEndpoint) => transport === 'plaintext';
  const isMeshed = tried.some((endpoint) => !isPlain(endpoint));
  const isAllowed = (endpoint: PermittedEndpoint) => !tried.includes(endpoint) && !(isMeshed && isPlain(endpoint));

  let first = kept === undefined ? undefined : endpoints.find((one) => one.key === kept && isAllowed(one));
  if (first !== undefined && !standing.isSetAside(first)) return first;
  let best: PermittedEndpoint | undefined;
  let spare: PermittedEndpoint | undefined;
  for (const endpoint of inRandomOrder(endpoints, random)) {
    if (!isAllowed(endpoint)) continue;
    first ??= endpoint;
    if (standing.isSetAside(endpoint)) continue;
    if (isPlain(endpoint) !== isPlain(first)) {
      if (!isPlain(endpoint)) spare ??= endpoint;
    } else if (best === undefined) best = endpoint;
    else return standing.connections(endpoint) < standing.connections(best) ? endpoint : best;
  }
  return best ?? spare ?? first;
}

/** Each item once; what is not taken costs nothing. */
function* inRandomOrder<T>(items: readonly T[], random: () => number): Generator<T> {
  const moved = new Map<number, T>();
  for (let i = 0; i < items.length; i += 1) {
    const drawn = i + Math.floor(random() * (items.length - i));
    const item = moved.get(drawn) ?? (items[drawn] as T);
    moved.set(drawn, moved.get(i) ?? (items[i] as T));
    yield item;
  }
}
