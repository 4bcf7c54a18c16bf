import fc from 'fast-check';

// The same numbers in each run, so that a mutant is killed in every run or in none.
fc.configureGlobal({ seed: 1 });
