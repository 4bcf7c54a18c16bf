import type { JsonSchema } from '@valibot/to-json-schema';
import { toJsonSchema } from '@valibot/to-json-schema';
import type * as v from 'valibot';
import { authorizationPolicySchema, isBlock } from '../../src/control-plane/policy/authorization-schema.ts';
import { peerAuthenticationSchema } from '../../src/control-plane/policy/peer-authentication.ts';
import { istioKinds } from '../../src/control-plane/policy/read.ts';
import { isEntryRange, serviceEntrySchema } from '../../src/control-plane/policy/service-entry-schema.ts';

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
    { $schema: draft, $id: fileOf(kind), title: kind, ...converted(schema) },
  ]);
  const groups = Object.entries(istioKinds).map(([group, names]) =>
    rule(
      { apiVersion: { type: 'string', pattern: `^${group.replaceAll('.', '\\.')}/` } },
      { properties: { kind: { enum: names } } },
    ),
  );
  const rules = Object.keys(kinds).map((kind) =>
    rule({ kind: { const: kind }, apiVersion: { type: 'string', pattern: '\\.istio\\.io/' } }, { $ref: fileOf(kind) }),
  );
  const required = ['apiVersion', 'kind'];
  const mixed = { $schema: draft, $id: 'policy.json', title: 'Objects of policy', type: 'object', required };
  return Object.fromEntries(
    [...files, ['policy.json', { ...mixed, allOf: [...groups, ...rules] }]].map(([name, schema]) => [
      name,
      textOf(schema),
    ]),
  );
}

/** What objects have to be of which this is so. */
function rule(properties: Readonly<Record<string, object>>, consequence: object) {
  const then = '$ref' in consequence ? consequence : { type: 'object', ...consequence };
  return { if: { type: 'object', properties, required: Object.keys(properties) }, then };
}

function converted(schema: v.GenericSchema): JsonSchema {
  return toJsonSchema(schema, {
    // Of an object the schema that describes it follows the one that keeps lists out.
    typeMode: 'output',
    // What cannot be said in JSON Schema is said by `remora validate`.
    errorMode: 'ignore',
    overrideAction: ({ valibotAction, jsonSchema }) =>
      'requirement' in valibotAction && [isBlock, isEntryRange].some((one) => one === valibotAction.requirement)
        ? { ...jsonSchema, pattern: blockPattern }
        : jsonSchema,
    overrideSchema: ({ valibotSchema, jsonSchema }) => overridden(valibotSchema, jsonSchema),
  });
}

/** What looks like an address or a CIDR. */
const blockPattern = '^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$';

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
