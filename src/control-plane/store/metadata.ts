import * as v from 'valibot';
import { isDnsSubdomain } from '../names.ts';

/** Left out, or null as the API server writes it. */
export const absent = <S extends v.GenericSchema>(schema: S) =>
  v.pipe(
    v.nullish(schema),
    v.transform((value) => value ?? undefined),
  );

export const dnsName = v.pipe(v.string(), v.check(isDnsSubdomain, 'is not a DNS name'));
export const labels = v.nullish(v.record(v.string(), v.string()), {});

/** What of an object's metadata is read, whatever its kind. */
export const metadata = v.object({
  name: dnsName,
  namespace: v.nullish(dnsName, 'default'),
  uid: absent(v.string()),
  labels,
  creationTimestamp: absent(v.string()),
  deletionTimestamp: absent(v.string()),
});
