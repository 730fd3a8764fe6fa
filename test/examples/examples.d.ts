/** Examples are plain JavaScript, as their readers will write. */
declare module '*.mjs';
