// SCIMMY on express with people in a Map: what its own documentation shows, and nothing slower. Filters are the handler's
// to apply, with the library's own matching.
import express from "express";
import SCIMMY from "scimmy";
import SCIMMYRouters from "scimmy-routers";

const people = new Map();
let next = 1;

SCIMMY.Resources.declare(SCIMMY.Resources.User, {
  egress: (resource) => {
    if (resource.id) {
      if (!people.has(resource.id)) throw new SCIMMY.Types.Error(404, null, "no such user");
      return people.get(resource.id);
    }
    const everybody = [...people.values()];
    return resource.filter ? resource.filter.match(everybody) : everybody;
  },
  ingress: (resource, instance) => {
    const id = resource.id ?? String(next++);
    const kept = { ...JSON.parse(JSON.stringify(instance)), id };
    people.set(id, kept);
    return kept;
  },
  degress: (resource) => people.delete(resource.id),
});

const app = express();
app.use("/scim", new SCIMMYRouters({ type: "bearer", handler: () => "bench" }));
app.listen(Number(process.argv[2]), "127.0.0.1");
