import { formatAddress } from '../../addresses.ts';
import { backoffMs } from '../../backoff.ts';
import type { Clock } from '../../clock.ts';
import { createLineRate } from '../../line-rate.ts';
import type { Log } from '../../log.ts';
import type { PermittedEndpoint } from '../../policy/permit.ts';
import type { Outcome } from '../account.ts';
import type { SuppressionCounter } from '../refusal-lines.ts';
import { refusalLineLimits } from '../refusal-lines.ts';
import type { Standing } from './choose.ts';

/**
 * How long an endpoint is set aside: doubling with each failure in a row; milliseconds. How many are remembered. And how
 * long one has not answered when it is a failure that the client has given up.
 */
export const setAsideLimits = { baseMs: 1000, capMs: 60_000, endpoints: 1000, unansweredMs: 1000 } as const;

/** Why an endpoint is set aside. */
export interface SetAside {
  /** Of the failure that was counted last. */
  readonly outcome: Outcome;
  /** In a row. */
  readonly failures: number;
  /** Until one connection may find out whether it is back; 0 while one is finding out. */
  readonly forMs: number;
}

/** The sidecar's memory of the endpoints that it dials: those with connections, and those that could not be reached. */
export interface EndpointBook extends Standing {
  /** Undefined when it is not. */
  whySetAside(endpoint: PermittedEndpoint): SetAside | undefined;
  /** Counts one connection to this endpoint until `end`. */
  begin(endpoint: PermittedEndpoint): Attempt;
  /** How many endpoints are set aside right now. */
  countSetAside(): number;
  /** How many endpoints it remembers anything of: those with connections, and those that failed last. */
  countRemembered(): number;
}

/** One connection to an endpoint, from its dial to its end. */
export interface Attempt {
  /** The endpoint took it, and whatever was held against the endpoint is forgotten. */
  reached(): void;
  /** The endpoint could not be reached or had no room, and that was its own fault or the network's. */
  failed(outcome: Outcome): void;
  /** It is over, or was never made. Idempotent. */
  end(): void;
}

interface Failure {
  readonly outcome: Outcome;
  readonly inARow: number;
  readonly untilMs: number;
  readonly isTold: boolean;
  /** After the wait one connection at a time finds out whether the endpoint is back. */
  isBeingTried: boolean;
}

/** An endpoint without connections and without a failure leaves nothing behind. */
export function createEndpointBook({
  clock,
  log,
  counter,
}: {
  clock: Clock;
  log: Log;
  counter: SuppressionCounter;
}): EndpointBook {
  const connections = new Map<string, number>();
  /** In the order in which they were set aside, because a Map keeps the order of insertion. */
  const failures = new Map<string, Failure>();
  // Where all endpoints fail now and then, each can be set aside and taken back many times a second.
  const passes = createLineRate<'endpoint'>(clock, refusalLineLimits);

  const isWaiting = ({ untilMs }: Failure) => clock.monotonic() < untilMs;
  const isAside = (failure: Failure) => failure.isBeingTried || isWaiting(failure);

  const add = (key: string, difference: 1 | -1) => {
    const sum = (connections.get(key) ?? 0) + difference;
    if (sum === 0) connections.delete(key);
    else connections.set(key, sum);
  };

  const setAside = (endpoint: PermittedEndpoint, outcome: Outcome) => {
    const { key } = endpoint;
    const last = failures.get(key);
    // Connections that were under way together fail together, and say no more than the first of them.
    if (last !== undefined && isWaiting(last)) return;
    const inARow = (last?.inARow ?? 0) + 1;
    const waitMs = backoffMs(setAsideLimits, inARow, clock.random());
    const isTold = passes('endpoint');
    failures.delete(key);
    failures.set(key, { outcome, inARow, untilMs: clock.monotonic() + waitMs, isTold, isBeingTried: false });
    const [oldest] = failures.keys();
    if (failures.size > setAsideLimits.endpoints && oldest !== undefined) failures.delete(oldest);
    if (!isTold) return counter.logLineSuppressed(outcome.reason);
    const { kind, reason, detail } = outcome;
    const fields = { ...shown(endpoint), outcome: kind, reason, detail, failures: inARow, forMs: Math.round(waitMs) };
    log.warn(fields, 'Endpoint set aside');
  };

  const takeBack = (endpoint: PermittedEndpoint) => {
    const last = failures.get(endpoint.key);
    if (last === undefined) return;
    failures.delete(endpoint.key);
    if (last.isTold) log.info({ ...shown(endpoint), failures: last.inARow }, 'Endpoint taken back');
  };

  return {
    connections: ({ key }) => connections.get(key) ?? 0,
    isSetAside({ key }) {
      const failure = failures.get(key);
      return failure !== undefined && isAside(failure);
    },
    whySetAside({ key }) {
      const failure = failures.get(key);
      if (failure === undefined || !isAside(failure)) return undefined;
      const { outcome, inARow, untilMs } = failure;
      return { outcome, failures: inARow, forMs: Math.max(0, Math.round(untilMs - clock.monotonic())) };
    },
    countSetAside: () => [...failures.values()].filter(isAside).length,
    countRemembered: () => new Set([...connections.keys(), ...failures.keys()]).size,
    begin(endpoint) {
      const failure = failures.get(endpoint.key);
      const trial = failure !== undefined && !isAside(failure) ? failure : undefined;
      const endTrial = () => {
        if (trial !== undefined) trial.isBeingTried = false;
      };
      let isOver = false;
      if (trial !== undefined) trial.isBeingTried = true;
      add(endpoint.key, 1);
      return {
        reached() {
          endTrial();
          takeBack(endpoint);
        },
        failed(outcome) {
          endTrial();
          setAside(endpoint, outcome);
        },
        end() {
          if (isOver) return;
          isOver = true;
          endTrial();
          add(endpoint.key, -1);
        },
      };
    },
  };
}

function shown(endpoint: PermittedEndpoint): Record<string, string> {
  const { address } = endpoint;
  return {
    endpoint: formatAddress(address),
    ...(endpoint.transport !== 'plaintext' && { peerId: endpoint.spiffeId }),
  };
}
