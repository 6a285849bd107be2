#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "headscope/attention.h"

/// Edits of heads as JSON: {"layer": 5, "head": 3, "kind": "zero"}, {..., "kind": "scale", "factor": 0.5};
/// kind is zero (also with "factor": 0), mean or scale.
namespace headscope::cli {

class JsonWriter;

/// A list of them. Errors: kFormat (also for a key that means nothing).
std::vector<Edit> edits_of(const nlohmann::json& list, std::string_view name);
/// Those of a file: {"edits": [...]}, or the list alone. Errors: also kNotFound, kIo.
std::vector<Edit> read_edits(const std::string& path);
/// The same list; an edit that replaces a head says so without its numbers.
void write_edits(JsonWriter& json, std::span<const Edit> edits);

}  // namespace headscope::cli
