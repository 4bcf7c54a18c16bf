import { closeSync, openSync } from 'node:fs';
import { ConfigurationError } from './errors.ts';
import type { Log } from './log.ts';

/**
 * How the descriptors of a sidecar are shared out. The reserve is for everything but the data plane: the program itself
 * with its listeners and the control plane (`program`), and a quarter of the rest, up to `reserve`, for pages, which get
 * two thirds of that, and for probes, lookups and files.
 */
export const descriptorShares = {
  /**
   * Passthrough and delivery take two sockets. In tunnels it is fewer, because a tunnel is shared, but in the worst case
   * each connection has one of its own.
   */
  perConnection: 2,
  program: 40,
  reserve: 400,
} as const;

/** What a limit on descriptors leaves for connections. */
export interface DescriptorBudget {
  readonly limit: number;
  readonly reserve: number;
  /** Of the reserve, for the connections to all pages together. */
  readonly pages: number;
  /** So many fit, whatever is configured. */
  readonly connections: number;
}

/** The soft limit in the text of /proc/self/limits (proc_pid_limits(5)); infinite when it is not there or has no bound. */
export function openFilesLimit(limits: string): number {
  const [, soft] = /^Max open files +(\d+|unlimited) /m.exec(limits) ?? [];
  return soft === undefined || soft === 'unlimited' ? Number.POSITIVE_INFINITY : Number(soft);
}

/** Shares out `limit` descriptors; throws `ConfigurationError` when not one connection fits. */
export function descriptorBudget(limit: number): DescriptorBudget {
  const { perConnection, program } = descriptorShares;
  const least = program + perConnection;
  if (limit < least) throw new ConfigurationError(`nofile is ${limit}, expected at least ${least}`);
  const reserve = Math.min(descriptorShares.reserve, program + Math.floor((limit - program) / 4));
  const pages = Math.max(2, Math.floor(((reserve - program) * 2) / 3));
  return { limit, reserve, pages, connections: Math.floor((limit - reserve) / perConnection) };
}

/** The least limit into which so many connections fit. */
export function descriptorsFor(connections: number): number {
  const { perConnection, program, reserve } = descriptorShares;
  const sockets = perConnection * connections;
  return Math.min(sockets + reserve, program + Math.ceil((sockets * 4) / 3));
}

/** Says so when fewer connections fit than somebody asked for, or fewer than half of what nobody did. */
export function warnOfFewDescriptors(
  { limit, reserve, connections }: DescriptorBudget,
  maxConnections: number,
  defaultConnections: number,
  log: Log,
): void {
  const expected = maxConnections === defaultConnections ? maxConnections / 2 : maxConnections;
  if (connections >= expected) return;
  const remedy = `Raise nofile to ${descriptorsFor(maxConnections)}, or lower maxConnections`;
  log.warn(
    { nofile: limit, reserve, maxConnections, connections, remedy },
    'Only some of maxConnections fit into the descriptors of this process',
  );
}

/** Whether the kernel gives this process one more descriptor; for failures that do not say that it was this. */
export function hasFreeDescriptor(): boolean {
  try {
    closeSync(openSync('/dev/null', 'r'));
    return true;
  } catch {
    return false;
  }
}
