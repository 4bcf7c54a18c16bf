import type { Clock } from '../../clock.ts';
import type { NamedWorkload } from '../../control-api.ts';

/** Who calls what. */
export interface CallerName {
  /** Canonical. */
  readonly ip: string;
  readonly port: number;
  /** The SPIFFE ID that was proved; undefined in plaintext. */
  readonly principal: string | undefined;
}

/** One caller of one port. */
export interface Caller extends CallerName {
  /** The address of this pod that it called last. */
  destinationIp: string;
  /** As the registry knows the pod at its address; undefined where it does not. */
  workload: NamedWorkload | undefined;
  connections: number;
  /** Of these, those that are carried now. */
  open: number;
  /** Of all, those that came while the port was DISABLE. */
  whileDisable: number;
  /** Of those that have ended, those in which it sent something. */
  spoke: number;
  /** Wall time: it is for people alone. */
  firstMs: number;
  /** When the last of its connections was made, or ended; wall time. */
  lastMs: number;
  /** Before then the registry is not asked again; monotonic. */
  askAgainMs: number;
}

/** Callers of one port that are remembered no more, or never were. */
export interface Forgotten {
  /** Undefined for all ports that have no place of their own. */
  readonly port: number | undefined;
  /** At most so many: whoever is forgotten twice is counted twice. */
  readonly callers: number;
  /** Wall time. */
  readonly lastMs: number;
}

/** What somebody calls, when it does. */
export interface CalledPort {
  readonly destinationIp: string;
  /** Its mode is DISABLE. */
  readonly isDisabled: boolean;
}

/** A bounded set of callers. What falls out of it is counted. */
export interface CallerPool {
  /** Another connection; undefined when there is no place, because everybody else is connected. */
  opened(name: CallerName, to: CalledPort, workload: NamedWorkload | undefined): Caller | undefined;
  closed(caller: Caller, hasSpoken: boolean): void;
  /** The registry knows by now whose address it is; what that one did before it had another address in between is added. */
  named(caller: Caller, workload: NamedWorkload): void;
  callers(): Iterable<Caller>;
  forgotten(): readonly Forgotten[];
  /** Connections by port, `other` for those without a place of their own: each number only grows. */
  connections(): ReadonlyMap<string, number>;
}

export interface CallerPoolLimits {
  readonly callers: number;
  /** With a place of their own. */
  readonly ports: number;
}

/** The label of ports without a place of their own. */
export const otherPorts = 'other';

interface Shelf {
  readonly port: number | undefined;
  readonly connected: Map<string, Caller>;
  /** The one that is gone for longest first, because a Map keeps the order of insertion. */
  readonly gone: Map<string, Caller>;
  forgotten: number;
  forgottenLastMs: number;
  connections: number;
}

/** A few steps for each connection, however many callers there are. */
export function createCallerPool(clock: Pick<Clock, 'now'>, limits: CallerPoolLimits): CallerPool {
  const shelves = new Map<string, Shelf>();
  let size = 0;

  const shelfOf = (port: number): Shelf => {
    const label = shelves.has(`${port}`) || shelves.size < limits.ports ? `${port}` : otherPorts;
    const known = shelves.get(label);
    if (known !== undefined) return known;
    const shelf: Shelf = {
      port: label === otherPorts ? undefined : port,
      connected: new Map(),
      gone: new Map(),
      forgotten: 0,
      forgottenLastMs: 0,
      connections: 0,
    };
    shelves.set(label, shelf);
    return shelf;
  };

  /** The fullest port gives way: a crowd at one of them must not make those of the others forgotten. */
  const makeRoom = (): boolean => {
    if (size < limits.callers) return true;
    const fullest = [...shelves.values()].reduce((one, other) => (other.gone.size > one.gone.size ? other : one));
    const [oldest] = fullest.gone;
    if (oldest === undefined) return false;
    fullest.gone.delete(oldest[0]);
    size -= 1;
    forget(fullest, oldest[1].lastMs);
    return true;
  };

  /** The address may be another pod's by now: what the one before did stays with it, under a key that nobody asks for. */
  const partFromFormer = (shelf: Shelf, key: string, workload: NamedWorkload | undefined) => {
    const former = shelf.gone.get(key);
    if (former?.workload === undefined || isSame(former.workload, workload)) return;
    shelf.gone.delete(key);
    shelf.gone.set(formerKey(key, former.workload), former);
  };

  const named = (caller: Caller, workload: NamedWorkload) => {
    caller.workload = workload;
    const { gone } = shelfOf(caller.port);
    const key = formerKey(keyOf(caller), workload);
    const former = gone.get(key);
    if (former === undefined || former === caller) return;
    gone.delete(key);
    size -= 1;
    caller.connections += former.connections;
    caller.spoke += former.spoke;
    caller.whileDisable += former.whileDisable;
    caller.firstMs = Math.min(caller.firstMs, former.firstMs);
  };

  const takePlace = (shelf: Shelf, key: string, name: CallerName): Caller | undefined => {
    const known = shelf.connected.get(key) ?? shelf.gone.get(key);
    if (known !== undefined) return known;
    const nowMs = clock.now();
    if (!makeRoom()) {
      forget(shelf, nowMs);
      return undefined;
    }
    size += 1;
    const none = {
      destinationIp: '',
      workload: undefined,
      connections: 0,
      open: 0,
      whileDisable: 0,
      spoke: 0,
      askAgainMs: 0,
    };
    return { ...name, ...none, firstMs: nowMs, lastMs: nowMs };
  };

  return {
    opened(name, { destinationIp, isDisabled }, workload) {
      const shelf = shelfOf(name.port);
      shelf.connections += 1;
      const key = keyOf(name);
      partFromFormer(shelf, key, workload);
      const caller = takePlace(shelf, key, name);
      if (caller === undefined) return undefined;
      caller.connections += 1;
      if (isDisabled) caller.whileDisable += 1;
      caller.open += 1;
      caller.lastMs = clock.now();
      caller.destinationIp = destinationIp;
      if (workload !== undefined) named(caller, workload);
      shelf.gone.delete(key);
      shelf.connected.set(key, caller);
      return caller;
    },
    closed(caller, hasSpoken) {
      const shelf = shelfOf(caller.port);
      const key = keyOf(caller);
      caller.open -= 1;
      caller.lastMs = clock.now();
      if (hasSpoken) caller.spoke += 1;
      if (caller.open > 0) return;
      shelf.connected.delete(key);
      shelf.gone.set(key, caller);
    },
    named,
    *callers() {
      for (const { connected, gone } of shelves.values()) {
        yield* connected.values();
        yield* gone.values();
      }
    },
    forgotten: () =>
      [...shelves.values()]
        .filter(({ forgotten }) => forgotten > 0)
        .map(({ port, forgotten: callers, forgottenLastMs: lastMs }) => ({ port, callers, lastMs })),
    connections: () => new Map([...shelves].map(([label, { connections }]) => [label, connections])),
  };
}

function forget(shelf: Shelf, lastMs: number): void {
  shelf.forgotten += 1;
  shelf.forgottenLastMs = Math.max(shelf.forgottenLastMs, lastMs);
}

function isSame(one: NamedWorkload, other: NamedWorkload | undefined): boolean {
  return one.namespace === other?.namespace && one.name === other.name;
}

const formerKey = (key: string, { namespace, name }: NamedWorkload) => `${key} ${namespace}/${name}`;
const keyOf = ({ ip, port, principal = '' }: CallerName) => `${ip} ${port} ${principal}`;
