import { networkInterfaces } from 'node:os';
import { isGlobal } from '../addresses.ts';
import type { ToolOptions } from '../system-tool.ts';
import { runTool } from '../system-tool.ts';

/**
 * What the sidecar delivers IPv6 connections to the application from; 127.0.0.6 is its counterpart and needs no
 * preparation. Istio uses the same two.
 */
export const deliveryV6 = '::6';

export type DeliveryAddress =
  | { readonly kind: 'added' }
  | { readonly kind: 'present' }
  /** The pod has no IPv6 of its own: the address would be the only one, and name resolution would begin to prefer IPv6. */
  | { readonly kind: 'not_needed' }
  /** Not fatal: the sidecar then delivers IPv6 from the pod's own address. */
  | { readonly kind: 'failed'; readonly why: string };

/** What the addresses of this network namespace say about `::6`. */
export function inspectInterfaces(interfaces: ReturnType<typeof networkInterfaces>): {
  hasGlobalV6: boolean;
  hasDelivery: boolean;
} {
  const all = Object.values(interfaces).flatMap((addresses) => addresses ?? []);
  return {
    hasGlobalV6: all.some(({ family, internal, address }) => family === 'IPv6' && !internal && isGlobal(address)),
    hasDelivery: all.some(({ address }) => address === deliveryV6),
  };
}

/** Adds `::6` to loopback where another interface has a global IPv6 address. */
export async function addDeliveryAddress(env: ToolOptions['env']): Promise<DeliveryAddress> {
  const { hasGlobalV6, hasDelivery } = inspectInterfaces(networkInterfaces());
  if (hasDelivery) return { kind: 'present' };
  if (!hasGlobalV6) return { kind: 'not_needed' };
  const result = await runTool('ip', ['-6', 'addr', 'replace', `${deliveryV6}/128`, 'dev', 'lo'], { env });
  if (result.kind === 'missing') return { kind: 'failed', why: 'ip is not on the PATH' };
  return result.status === 0 ? { kind: 'added' } : { kind: 'failed', why: result.stderr.trim() };
}

/** Takes `::6` away again; resolves with whether it was there. */
export async function removeDeliveryAddress(env: ToolOptions['env']): Promise<boolean> {
  const { hasDelivery } = inspectInterfaces(networkInterfaces());
  if (hasDelivery) await runTool('ip', ['-6', 'addr', 'del', `${deliveryV6}/128`, 'dev', 'lo'], { env });
  return hasDelivery;
}
