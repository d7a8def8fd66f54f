// What this browser keeps of a reader's choices. A private window keeps nothing, and everything works all the same.

export const stored = {
  get: (name) => { try { return localStorage.getItem(`leasehold.${name}`); } catch { return null; } },
  set: (name, value) => { try { localStorage.setItem(`leasehold.${name}`, value); } catch { /* a private window */ } },
};
