#pragma once

#include <map>
#include <set>

#include "models/blueprint.h"

/// Models whose layers have lost heads, each as many as it could spare: `pruned_heads` of config.json, as Transformers 4
/// wrote it after prune_heads (Transformers 5 has no word for it) and as headscope writes it.
namespace headscope::models {

/// A layer, and the numbers that its lost heads had when all were there.
using PrunedHeads = std::map<std::int64_t, std::set<std::int64_t>>;

/// Empty where config.json says nothing of it. Errors: kFormat (no object of lists of numbers).
PrunedHeads pruned_heads(const json::Value& config);

/// Why a head of this attention cannot leave alone: a few words, "its keys are shared" ; "" : it can.
std::string bound(const AttentionFacts& attention);

/// Whether Transformers 4 reads `pruned_heads` of this family.
bool pruned_elsewhere(std::string_view family);

/// Takes what config.json says is lost off every layer's heads.
/// Errors: kFormat (a layer or a head that is not there, a layer of none), kUnsupported (heads that cannot leave alone).
void leave_out_heads(const json::Value& config, Blueprint& b);

}  // namespace headscope::models
