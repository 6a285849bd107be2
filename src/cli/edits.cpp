#include "cli/edits.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cli/json_writer.h"
#include "formats/json.h"
#include "headscope/safetensors.h"

namespace headscope::cli {

namespace {

constexpr std::string_view kWhere = "edits";

void check_keys(const json::Value& object, std::initializer_list<std::string_view> known) {
  for (const auto& [key, value] : object.items()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    throw Error(
        ErrorCode::kFormat,
        fmt::format(
            "[edits] expected no keys but {}, found {}", fmt::join(known, ", "), json::quote(key)));
  }
}

}  // namespace

std::vector<Edit> edits_of(const json::Value& list, std::string_view name) {
  if (!list.is_array()) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[edits] expected {} to hold a list of edits, found {}",
                            name,
                            list.is_null() ? "none" : json::describe(list)));
  }
  std::vector<Edit> out;
  for (const json::Value& one : list) {
    Edit edit;
    edit.layer = json::require<int>(one, "layer", kWhere);
    edit.head = json::require<int>(one, "head", kWhere);
    const auto kind = json::require<std::string>(one, "kind", kWhere);
    // What zero does is to scale by 0: who says so says the same.
    const bool said = kind == "zero" && one.contains("factor") && one["factor"] == 0;
    if (kind == "zero") {
      edit.kind = Edit::Kind::kZero;
    } else if (kind == "mean") {
      edit.kind = Edit::Kind::kMean;
    } else if (kind == "scale") {
      edit.kind = Edit::Kind::kScale;
      edit.factor = json::require<float>(one, "factor", kWhere);
      if (!std::isfinite(edit.factor))
        throw Error(ErrorCode::kFormat,
                    fmt::format("[edits] expected a finite factor, found {}", edit.factor));
    } else {
      throw Error(ErrorCode::kFormat,
                  fmt::format("[edits] expected kind to be zero, mean or scale, found {}",
                              json::quote(kind)));
    }
    if (kind == "scale" || said)
      check_keys(one, {"layer", "head", "kind", "factor"});
    else
      check_keys(one, {"layer", "head", "kind"});
    out.push_back(std::move(edit));
  }
  return out;
}

std::vector<Edit> read_edits(const std::string& path) {
  const json::Value file = json::parse(read_file(path, std::size_t{1} << 24), path);
  const json::Value* list = file.is_array() ? &file : json::find(file, "edits", kWhere);
  std::vector<Edit> out = edits_of(list == nullptr ? json::Value() : *list, path);
  if (!file.is_array()) check_keys(file, {"edits"});
  return out;
}

void write_edits(JsonWriter& json, std::span<const Edit> edits) {
  json.begin_array();
  for (const Edit& edit : edits) {
    json.begin_object().field("layer", edit.layer).field("head", edit.head);
    switch (edit.kind) {
      case Edit::Kind::kZero:
        json.field("kind", "zero");
        break;
      case Edit::Kind::kMean:
        json.field("kind", "mean");
        break;
      case Edit::Kind::kScale:
        json.field("kind", "scale").field("factor", edit.factor);
        break;
      case Edit::Kind::kReplace:
        json.field("kind", "replace");
        break;
    }
    json.end_object();
  }
  json.end_array();
}

}  // namespace headscope::cli
