/** Columns of the titles. */
export const titleWidth = 15;

/** One line under its title; without one it goes on with the line above. */
export const line = (title: string, text: string): string => `${(title && `${title}:`).padEnd(titleWidth)}${text}`;
