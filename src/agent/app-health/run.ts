import type { Address } from '../../addresses.ts';
import type { AppProbe } from '../../app-probes.ts';
import { portOfProbe } from '../../app-probes.ts';
import type { Clock } from '../../clock.ts';
import { UnavailableError } from '../../errors.ts';
import { withDeadline } from '../deadline.ts';
import type { Target } from './dial.ts';
import { probeGrpc } from './grpc.ts';
import { probeHttp } from './http.ts';
import { probeTcp } from './tcp.ts';

/** What a probe needs besides itself. */
export interface ProbeParts {
  readonly clock: Clock;
  /** Ports of the sidecar itself, which no redirect may lead to. */
  readonly reservedPorts: ReadonlySet<number>;
}

/** Who asks for a probe, and where it goes. */
export interface Errand {
  readonly container: string;
  /** An address of this pod. */
  readonly ip: string;
  readonly userAgent: string;
}

/**
 * Runs the original probe on connections of its own, all within its deadline. Resolves with one sentence; throws
 * `UnavailableError` with one when it failed, or the signal's reason. Nothing of it goes on afterwards.
 */
export async function runProbe(
  { clock, reservedPorts }: ProbeParts,
  probe: AppProbe,
  { container, ip, userAgent }: Errand,
  outer: AbortSignal,
): Promise<string> {
  const port = portOfProbe(probe);
  const address: Address = { ip, port };
  const target: Target = { address, name: `${container}:${port}` };
  const late = () => new UnavailableError(`${target.name} gave no answer within ${probe.timeoutSeconds} s`);
  return withDeadline(clock, probe.timeoutSeconds * 1000, late, outer, (signal) => {
    if ('httpGet' in probe) return probeHttp({ httpGet: probe.httpGet, target, userAgent, reservedPorts }, signal);
    if ('grpc' in probe) return probeGrpc(target, probe.grpc.service, userAgent, signal);
    return probeTcp(clock, target, signal);
  });
}
