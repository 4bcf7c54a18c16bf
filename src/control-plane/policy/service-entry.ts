import * as v from 'valibot';
import { absent, labels, metadata } from '../store/metadata.ts';

const texts = v.nullish(v.array(v.string()), []);

/** Istio's ServiceEntry, with the fields that are read; others are ignored. */
export const serviceEntry = v.object({
  metadata,
  spec: v.object({
    hosts: texts,
    /** Addresses and CIDRs. */
    addresses: texts,
    ports: v.nullish(
      v.array(
        v.object({
          number: v.number(),
          name: v.nullish(v.string(), ''),
          protocol: absent(v.string()),
          targetPort: absent(v.number()),
        }),
      ),
      [],
    ),
    location: absent(v.string()),
    resolution: absent(v.string()),
    endpoints: v.nullish(
      v.array(
        v.object({
          address: absent(v.string()),
          ports: v.nullish(v.record(v.string(), v.number()), {}),
          labels,
          serviceAccount: absent(v.string()),
        }),
      ),
      [],
    ),
    workloadSelector: absent(v.object({ labels })),
    exportTo: texts,
    subjectAltNames: texts,
  }),
});
export type ServiceEntry = v.InferOutput<typeof serviceEntry>;
