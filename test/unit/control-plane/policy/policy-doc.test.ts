import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { conditionKeys } from '../../../../src/control-api.ts';
import { readText } from '../../../../src/control-plane/store/yaml.ts';
import { jsonSchemas } from '../../../support/json-schemas.ts';

const document = readFileSync(resolve(import.meta.dirname, '../../../../docs/policy.md'), 'utf8');
const examples = [...document.matchAll(/^```yaml\n(.*?)^```$/gms)].map(([, example = '']) => example);

/** Names of the fields that a schema has anywhere below. */
function fieldsOf(schema: unknown): readonly string[] {
  if (typeof schema !== 'object' || schema === null) return [];
  return Object.entries(schema).flatMap(([key, inner]) => [
    ...(key === 'properties' ? Object.keys(inner as object) : []),
    ...fieldsOf(inner),
  ]);
}

describe('docs/policy.md', () => {
  it.each(examples)('has examples without a problem', (example) => {
    const { objects, broken, notes } = readText(example);
    expect({ broken, problems: notes.filter(({ severity }) => severity === 'problem') }).toEqual({
      broken: [],
      problems: [],
    });
    expect(objects.length).toBeGreaterThan(0);
  });

  it.each(['authorization-policy.json', 'peer-authentication.json'])('names every field of %s', (name) => {
    const { properties } = JSON.parse(jsonSchemas()[name] ?? '') as { properties: { spec: unknown } };
    const fields = fieldsOf(properties.spec).filter((field) => !['group', 'kind', 'name', 'namespace'].includes(field));
    expect(fields.length).toBeGreaterThan(3);
    expect(fields.filter((field) => !new RegExp(`\\b${field}\\b`).test(document))).toEqual([]);
  });

  it('names every key of a condition', () => {
    expect(conditionKeys.filter((key) => !document.includes(`\`${key}\``))).toEqual([]);
  });
});
