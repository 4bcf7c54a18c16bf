import { readdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { jsonSchemas } from '../../../support/json-schemas.ts';

const folder = resolve(import.meta.dirname, '../../../../manifests/schemas');
const schemas = jsonSchemas();

interface Part {
  readonly properties?: Readonly<Record<string, Part>>;
  readonly anyOf?: readonly Part[];
  readonly items?: Part;
}

/** What a value may be besides null, and what each of a list may be. */
const essence = (part: Part): Part => {
  const [first = part] = part.anyOf ?? [];
  return first.items === undefined ? first : essence(first.items);
};

/** The part of a schema at a field. */
function at(name: string, ...path: readonly string[]): Part {
  const whole = JSON.parse(schemas[name] ?? '') as Part;
  return path.reduce((part, field) => essence(part.properties?.[field] ?? {}), whole);
}

describe('the JSON Schemas in manifests/schemas', () => {
  it.each(Object.entries(schemas))('%s is what the code checks by', async (name, schema) => {
    await expect(schema).toMatchFileSnapshot(`${folder}/${name}`);
  });

  it('are all there, and no other', () => {
    expect(readdirSync(folder).sort()).toEqual(Object.keys(schemas).sort());
  });

  it('know every field, and no other', () => {
    expect(at('authorization-policy.json', 'spec', 'rules', 'from', 'source')).toMatchObject({
      additionalProperties: false,
      properties: { principals: expect.anything(), notIpBlocks: expect.anything() },
    });
    expect(at('authorization-policy.json', 'spec', 'action')).toMatchObject({ enum: ['ALLOW', 'DENY', 'AUDIT'] });
    expect(at('authorization-policy.json', 'spec', 'rules', 'to', 'operation', 'ports')).toMatchObject({
      type: 'string',
      pattern: expect.any(String),
    });
    expect(at('peer-authentication.json', 'spec', 'mtls', 'mode')).toMatchObject({
      enum: ['UNSET', 'DISABLE', 'PERMISSIVE', 'STRICT'],
    });
    expect(at('peer-authentication.json')).toMatchObject({
      additionalProperties: false,
      required: ['apiVersion', 'kind', 'metadata'],
    });
  });

  it('are known by the names of their files, by which they are told of in each other', () => {
    for (const [name, schema] of Object.entries(schemas)) expect(JSON.parse(schema)).toMatchObject({ $id: name });
    const references = Array.from((schemas['policy.json'] ?? '').matchAll(/"\$ref": "(.*)"/g), ([, file]) => file);
    expect(references.toSorted()).toEqual(
      Object.keys(schemas)
        .filter((name) => name !== 'policy.json')
        .toSorted(),
    );
  });

  it('know every kind of the groups of Istio, so that a slip in one is refused', () => {
    const { allOf } = JSON.parse(schemas['policy.json'] ?? '') as { allOf: readonly unknown[] };
    expect(allOf).toContainEqual({
      if: {
        type: 'object',
        properties: { apiVersion: { type: 'string', pattern: '^security\\.istio\\.io/' } },
        required: ['apiVersion'],
      },
      // biome-ignore lint/suspicious/noThenProperty: a word of JSON Schema
      then: {
        type: 'object',
        properties: { kind: { enum: ['PeerAuthentication', 'AuthorizationPolicy', 'RequestAuthentication'] } },
      },
    });
  });

  it('refuse what looks like no address', () => {
    const blocks = at('authorization-policy.json', 'spec', 'rules', 'from', 'source', 'ipBlocks') as {
      pattern: string;
    };
    expect(blocks).toEqual({ ...at('service-entry.json', 'spec', 'addresses') });
    expect(
      ['10.0.0.0/8', '::1', 'fd00::/8', 'web', '10.0.0.0/', ''].map((one) => new RegExp(blocks.pattern).test(one)),
    ).toEqual([true, true, true, false, false, false]);
  });

  it('leave the metadata to Kubernetes', () => {
    expect(at('service-entry.json', 'metadata')).toMatchObject({ required: ['name'] });
    expect(at('service-entry.json', 'metadata')).not.toHaveProperty('additionalProperties');
  });
});
