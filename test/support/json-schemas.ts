import type { JsonSchema } from '@valibot/to-json-schema';
import { toJsonSchema } from '@valibot/to-json-schema';
import type * as v from 'valibot';
import { authorizationPolicySchema } from '../../src/control-plane/policy/authorization-schema.ts';
import { peerAuthenticationSchema } from '../../src/control-plane/policy/peer-authentication.ts';
import { serviceEntrySchema } from '../../src/control-plane/policy/service-entry-schema.ts';

const kinds: Readonly<Record<string, v.GenericSchema>> = {
  PeerAuthentication: peerAuthenticationSchema,
  AuthorizationPolicy: authorizationPolicySchema,
  ServiceEntry: serviceEntrySchema,
};

const draft = 'http://json-schema.org/draft-07/schema#';

/** The files of manifests/schemas: one for each kind, and one for whatever mixes them in one file. */
export function jsonSchemas(): Readonly<Record<string, string>> {
  const files = Object.entries(kinds).map(([kind, schema]) => [
    fileOf(kind),
    { $schema: draft, title: kind, ...converted(schema) },
  ]);
  const rules = Object.keys(kinds).map((kind) => ({
    if: {
      properties: { kind: { const: kind }, apiVersion: { pattern: '\\.istio\\.io/' } },
      required: ['kind', 'apiVersion'],
    },
    // biome-ignore lint/suspicious/noThenProperty: a word of JSON Schema
    then: { $ref: fileOf(kind) },
  }));
  const mixed = { $schema: draft, title: 'Objects of policy', allOf: rules };
  return Object.fromEntries([...files, ['policy.json', mixed]].map(([name, schema]) => [name, textOf(schema)]));
}

function converted(schema: v.GenericSchema): JsonSchema {
  return toJsonSchema(schema, {
    // Of an object the schema that describes it follows the one that keeps lists out.
    typeMode: 'output',
    // What cannot be said in JSON Schema is said by `remora validate`.
    errorMode: 'ignore',
    overrideSchema: ({ valibotSchema, jsonSchema }) => overridden(valibotSchema, jsonSchema),
  });
}

function overridden(schema: v.GenericSchema, json: JsonSchema): JsonSchema {
  if (schema.type !== 'loose_object' && schema.type !== 'object') return json;
  const entries = (schema as unknown as { readonly entries: v.ObjectEntries }).entries;
  const required = Object.keys(entries).filter((name) => !['nullish', 'optional'].includes(entries[name]?.type ?? ''));
  const { required: _, ...rest } = json;
  // What is closed refuses unknown fields behind the schema itself.
  return {
    ...rest,
    ...(required.length > 0 && { required }),
    ...(schema.type === 'loose_object' && { additionalProperties: false }),
  };
}

const fileOf = (kind: string) => `${kind.replaceAll(/(?<=[a-z])(?=[A-Z])/g, '-').toLowerCase()}.json`;
const textOf = (schema: unknown) => `${JSON.stringify(schema, null, 2)}\n`;
