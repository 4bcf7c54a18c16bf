import type { Clock } from '../clock.ts';
import { ConfigurationError, FailureError, messageOf } from '../errors.ts';
import { captureProbe } from '../ports.ts';
import type { ToolOptions } from '../system-tool.ts';
import type { HeldCapturePort, OccupiedCapturePort } from './capture-port.ts';
import { holdCapturePort } from './capture-port.ts';
import type { DeliveryAddress } from './delivery-address.ts';
import { addDeliveryAddress, removeDeliveryAddress } from './delivery-address.ts';
import type { Installed } from './listing.ts';
import { readListing } from './listing.ts';
import type { Nft } from './nft.ts';
import type { Proofs } from './proof.ts';
import { proveOutbound } from './proof.ts';
import type { RedirectSettings } from './rules.ts';
import { redirectTable } from './rules.ts';
import type { Ruleset } from './ruleset.ts';
import { removalText, renderRuleset, restorationText } from './ruleset.ts';

export interface ApplyOptions {
  /** False applies without a proof, for a pod whose sidecar is running. */
  readonly isProofWanted: boolean;
  /** Whether redirects in other tables are accepted. */
  readonly areOtherRedirectsAccepted: boolean;
}

export interface Applied {
  readonly outcome: 'applied' | 'replaced' | 'unchanged';
  readonly hash: string;
  /** Undefined when no proof was wanted. */
  readonly proofs: Proofs | undefined;
  readonly deliveryAddress: DeliveryAddress;
}

export interface ApplyTools {
  readonly nft: Nft;
  readonly env: ToolOptions['env'];
  readonly clock: Clock;
}

/**
 * Brings the rules of this network namespace to what the settings say, and proves that they capture. When anything
 * fails, what was there before is back before it throws.
 */
export async function applyRedirect(
  settings: RedirectSettings,
  options: ApplyOptions,
  tools: ApplyTools,
): Promise<Applied> {
  const ruleset = renderRuleset(redirectTable(settings));
  const installed = readListing(await tools.nft.listRuleset());
  if (!options.areOtherRedirectsAccepted) refuseOtherRedirects(installed);
  const isCurrent = isInstalled(ruleset, installed);
  const port = options.isProofWanted ? await holdCapturePort(settings.ports.outbound) : undefined;
  try {
    if (port?.kind === 'occupied' && !isCurrent) throw occupied(port);
    if (!isCurrent) await tools.nft.load(ruleset.text);
    const settled = await addAndProve(port, tools).catch((error: unknown) =>
      restore(installed, isCurrent, tools, error),
    );
    const outcome = isCurrent ? 'unchanged' : installed.own === undefined ? 'applied' : 'replaced';
    return { outcome, hash: ruleset.hash, ...settled };
  } finally {
    if (port?.kind === 'held') await port.close();
  }
}

/** Resolves with whether there was anything to remove. */
export async function removeRedirect({ nft, env }: ApplyTools): Promise<boolean> {
  const { own } = readListing(await nft.listRuleset());
  if (own !== undefined) await nft.load(removalText);
  const hadAddress = await removeDeliveryAddress(env);
  return own !== undefined || hadAddress;
}

/** A table whose hash is right may still have lost a rule to somebody's hands. */
function isInstalled(ruleset: Ruleset, { own }: Installed): boolean {
  return own?.hash === ruleset.hash && own.comments.join('\n') === ruleset.comments.join('\n');
}

function refuseOtherRedirects({ otherRedirects }: Installed): void {
  const [first] = otherRedirects;
  if (first === undefined) return;
  throw new ConfigurationError(
    `Something else already redirects connections of this pod (${first}), expected no other sidecar; --accept-other-redirects takes them as they are`,
  );
}

function occupied({ where }: OccupiedCapturePort): FailureError {
  return new FailureError(
    `${where} is in use by another process, expected it to be free until the sidecar starts; --skip-proof applies the rules without trying them`,
  );
}

async function addAndProve(port: HeldCapturePort | OccupiedCapturePort | undefined, { env, clock }: ApplyTools) {
  const deliveryAddress = await addDeliveryAddress(env);
  try {
    const proofs = port === undefined ? undefined : await proveOutbound(port, clock);
    if (proofs !== undefined) requireProof(proofs);
    return { deliveryAddress, proofs };
  } catch (error) {
    if (deliveryAddress.kind === 'added') await removeDeliveryAddress(env);
    throw error;
  }
}

function requireProof({ ipv4, ipv6 }: Proofs): void {
  const failures = [
    { proof: ipv4, dialled: `${captureProbe.v4}:${captureProbe.port}` },
    { proof: ipv6, dialled: `[${captureProbe.v6}]:${captureProbe.port}` },
  ].flatMap(({ proof, dialled }) => (proof.kind === 'failed' ? [`${dialled} (${proof.why})`] : []));
  if (failures.length > 0) {
    throw new FailureError(
      `Outbound connections are not captured: dialled ${failures.join(' and ')}, expected to land on the capture port`,
    );
  }
  if (ipv4.kind === 'no_route' && ipv6.kind === 'no_route') {
    throw new FailureError(
      `Outbound capture cannot be proved: this pod has no route to ${captureProbe.v4} and none to ${captureProbe.v6}, expected a default route; --skip-proof applies the rules without trying them`,
    );
  }
}

/** Puts back what was there, in one transaction, and passes the reason on. Rules that this run did not touch stay. */
async function restore({ own }: Installed, wasCurrent: boolean, { nft }: ApplyTools, reason: unknown): Promise<never> {
  if (wasCurrent) throw reason;
  await nft.load(own === undefined ? removalText : restorationText(own.listing)).catch((error: unknown) => {
    const both = `${messageOf(reason)}; what was there before could not be put back: ${messageOf(error)}`;
    throw new FailureError(both, { cause: reason });
  });
  throw reason;
}
