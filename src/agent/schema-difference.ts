import type { BaseIssue } from 'valibot';
import { getDotPath } from 'valibot';

/** Where a value differs from its schema, in words; nothing of the value itself, which could be a secret. */
export function differenceOf(issue: BaseIssue<unknown>): string {
  const where = getDotPath(issue)?.slice(0, 80) ?? 'the whole';
  if (issue.expected === 'never') return `${where} is not known`;
  return issue.received === 'undefined' ? `${where} is missing` : `${where} is not ${issue.expected}`;
}
