use crate::gateways::world::World;
pub fn run(_world: &mut World, _gateway: &crate::gateways::program::Gateway) {}
