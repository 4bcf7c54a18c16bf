import type { ShownInbound } from '../../explain-api.ts';
import { resolve } from '../outbound/resolve.ts';
import type { OutboundExplainParts, OutboundExplainSettings } from './outbound.ts';

/** Whether the registry knows a sidecar at the address of a caller, which proved nobody to be; asks as a connection would. */
export async function callerAt(
  ip: string,
  parts: Pick<OutboundExplainParts, 'registry' | 'clock' | 'policy'>,
  settings: Pick<OutboundExplainSettings, 'hbonePort' | 'meshNetworks' | 'resolveTimeoutMs'>,
): Promise<NonNullable<ShownInbound['caller']>> {
  const address = { ip, port: settings.hbonePort };
  const resolution = await resolve(address, parts, settings, new AbortController().signal);
  switch (resolution.kind) {
    case 'known': {
      const endpoint = resolution.destination.endpoints.find(({ transport }) => transport !== 'plaintext');
      return endpoint === undefined ? { answer: 'no_sidecar' } : { answer: 'sidecar', spiffeId: endpoint.spiffeId };
    }
    case 'unavailable':
      return { answer: 'unavailable', why: resolution.why };
    case 'no_policy':
      return { answer: 'unavailable', why: 'no policy has arrived yet' };
    case 'unknown':
    case 'outside':
      return { answer: 'unknown' };
    default:
      return resolution satisfies never;
  }
}
