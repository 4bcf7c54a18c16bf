import { addressBits } from './address-bits.ts';
import type { InboundRequest } from './authorize.ts';

/** What rules look at, as the texts that their patterns are held against; undefined is what the peer has not proved. */
export interface Facts {
  /** SPIFFE ID without `spiffe://`. */
  readonly principal: string | undefined;
  /** Only an ID of our own form has a namespace and a service account. */
  readonly namespace: string | undefined;
  /** `namespace/name`. */
  readonly serviceAccount: string | undefined;
  /** Bits of the address. */
  readonly source: string | undefined;
  /** Bits of the address. */
  readonly destination: string;
  readonly port: number;
}

/** Everything of a request that has a text. */
export type Subject = Exclude<keyof Facts, 'port'>;

const scheme = 'spiffe://';
const ownForm = /^[^/]*\/ns\/([^/]+)\/sa\/([^/]+)$/;

export function factsOf({ principal, source, destination }: InboundRequest): Facts {
  const id = principal?.slice(scheme.length);
  const [, namespace, name] = id === undefined ? [] : (ownForm.exec(id) ?? []);
  return {
    principal: id,
    namespace,
    serviceAccount: namespace === undefined ? undefined : `${namespace}/${name}`,
    source: source === undefined ? undefined : addressBits(source),
    destination: addressBits(destination.ip) ?? '',
    port: destination.port,
  };
}
