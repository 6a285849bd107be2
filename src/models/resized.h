#pragma once

#include <cstdint>
#include <optional>

#include "formats/json.h"
#include "models/blueprint.h"

/// A family's config.json with other sizes in it.
namespace headscope::models {

/// What changes; the rest stays.
struct Sizes {
  std::optional<std::int64_t> layers, heads, groups, positions, vocabulary;
  /// C. The MLP, and whatever else is as wide as the model, keeps its share of it.
  std::optional<std::int64_t> width;
};

/// In the words of the family. With other heads the queries of all stay as wide together: D = (H * D before) / H; where
/// every head had its own key and value it still has one, unless `groups` says otherwise.
/// Errors: kUsage for heads that do not divide that width, groups that do not divide the heads, and sizes that the
/// family has no words for; those of read_blueprint.
json::Value resized(const json::Value& config, const Sizes& sizes);

/// The stack that a family's attention lies in, of texts or pictures. Errors: those of read_blueprint and read_vision.
Blueprint stack_of(const json::Value& config);

}  // namespace headscope::models
