import * as v from 'valibot';
import type { Address } from '../../src/addresses.ts';
import { wholePod } from '../../src/annotations.ts';
import { createCaptureRules } from '../../src/capture-scope.ts';
import type { ExplainPage, InboundPage, OutboundPage } from '../../src/explain-api.ts';
import { explainPage } from '../../src/explain-api.ts';
import { sidecarPorts } from '../../src/ports.ts';
import type { ExplainParts, ExplainSettings } from '../../src/proxy/explain/explain.ts';
import { createExplain } from '../../src/proxy/explain/explain.ts';
import { createNameExplainer } from '../../src/proxy/explain/lookup.ts';
import type { RunningDataPlane } from './data-plane.ts';

/** What a data plane of a test says about connections. */
export interface Explaining {
  ask(query: Readonly<Record<string, string>>): Promise<ExplainPage>;
  /** One destination. */
  to(destination: string): Promise<OutboundPage['destinations'][number]>;
  /** The ports that most connections are for. */
  from(caller: string, port?: number): Promise<InboundPage['ports'][number]>;
}

export interface ExplainOptions {
  readonly parts?: Partial<ExplainParts>;
  readonly inbound?: Partial<ExplainSettings['inbound']>;
  /** Default: as if everything were captured, loopback too, on which tests dial. */
  readonly capture?: ExplainSettings['inbound']['capture'] | 'none';
}

const rules = createCaptureRules(wholePod, sidecarPorts);
const everything = { isCaptured: true, rule: 'Everything else' };
const capturesLoopback = { rules: { ...rules, outbound: () => everything }, scope: wholePod };

export function explaining(plane: RunningDataPlane, options: ExplainOptions = {}): Explaining {
  const { parts, settings, failures, pool, affinities, names } = plane;
  const capture = options.capture ?? capturesLoopback;
  const explain = createExplain(
    {
      ...parts,
      ...{ pool, affinities, names, failures },
      isControlPlaneUp: () => true,
      captureProofs: () => [],
      isDraining: () => false,
      ownAddresses: () => ['10.0.0.7'],
      lookUp: createNameExplainer(parts.clock),
      ...options.parts,
    },
    {
      outbound: settings.outbound,
      inbound: {
        floor: settings.inbound.floor,
        hasControlPlane: true,
        capture: capture === 'none' ? undefined : capture,
        deliveries: [],
        ...options.inbound,
      },
      declared: settings.listen.declared.map((tunnel, index) => ({ ...tunnel, listen: addressAt(plane, index) })),
    },
  );
  const ask = async (query: Readonly<Record<string, string>>) => {
    const { status, body } = await explain(new URLSearchParams(query));
    if (status !== 200) throw new Error(String(body));
    // As it comes over the wire.
    return v.parse(explainPage, JSON.parse(JSON.stringify(body)));
  };
  return {
    ask,
    async to(destination) {
      const page = await ask({ to: destination });
      if (page.kind !== 'to' || page.destinations[0] === undefined) throw new Error(JSON.stringify(page));
      return page.destinations[0];
    },
    async from(caller, port) {
      const page = await ask({ from: caller, ...(port !== undefined && { port: String(port) }) });
      if (page.kind !== 'from' || page.ports[0] === undefined) throw new Error(JSON.stringify(page));
      return page.ports[0];
    },
  };
}

/** As bound, where the settings leave the port to the kernel. */
const addressAt = (plane: RunningDataPlane, index: number): Address =>
  plane.addresses.declared[index] ?? { ip: '127.0.0.1', port: 0 };
