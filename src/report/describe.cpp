#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "report/report_data.h"

namespace headscope::report {
namespace {

using nlohmann::json;

json options_json(const FocusRecord& record) {
  const FocusOptions& o = record.options;
  return {{"scale",
           o.scale.value_or(
               1.0F / std::sqrt(static_cast<float>(std::max<std::int64_t>(1, record.width))))},
          {"causal", o.causal},
          {"windowLeft", o.window_left},
          {"windowRight", o.window_right},
          {"prefix", o.prefix},
          {"queryOffset", query_offset(o, record.rows, record.keys)},
          {"softcap", o.softcap}};
}

json walk_json(const Walk& walk) {
  const AttentionTrace& t = *walk.trace;
  return {{"layer", walk.layer},
          {"heads", t.q.dim(1)},
          {"groups", t.k.dim(1)},
          {"rows", t.q.dim(2)},
          {"width", t.q.dim(3)},
          {"valueWidth", t.v.dim(3)},
          {"model", t.x.dim(2)},
          {"error", walk.error}};
}

json role_json(const Role& role) {
  return {{"layer", role.layer},
          {"head", role.head},
          {"letter", role.letter},
          {"shape", role.shape},
          {"en", role.en},
          {"ru", role.ru},
          {"source", role.source},
          {"source_ru", role.source_ru.empty() ? role.source : role.source_ru},
          {"score", role.score},
          {"baseline", role.baseline},
          {"n", role.n}};
}

json label_json(const Label& label) {
  return {{"text", label.text},
          {"begin", label.begin},
          {"end", label.end},
          {"word", label.word},
          {"special", label.special},
          {"frame", label.frame},
          {"row", label.row},
          {"column", label.column}};
}

json layer_json(const Sighting& sighting, std::size_t n) {
  const FocusRecord& record = sighting.layers[n];
  if (record.rows < 1 || record.heads.empty()) return nullptr;
  json labels = nullptr;
  if (n < sighting.layer_labels.size() && !sighting.layer_labels[n].empty()) {
    labels = json::array();
    for (std::size_t j = 0; j < static_cast<std::size_t>(record.keys); ++j)
      labels.push_back(label_json(sighting.layer_labels[n].at(j)));
  }
  return {{"heads", record.heads},
          {"batch", record.batch},
          {"labels", std::move(labels)},
          {"queryHeads", record.query_heads},
          {"groups", record.groups},
          {"rows", record.rows},
          {"keys", record.keys},
          {"width", record.width},
          {"options", options_json(record)}};
}

/// What the labels lie in; null for a text.
json media_json(const Page& page, const Numbers& numbers) {
  const Scene& scene = page.sighting->scene;
  if (scene.kind == Scene::Kind::kText) return nullptr;
  json values = json::array();
  for (const double x : scene.values) values.push_back(std::isfinite(x) ? json(x) : json(nullptr));
  json grids = json::array();
  for (std::size_t n = 0; n < page.sighting->layers.size(); ++n) {
    json grid = nullptr;
    for (const Stored& s : numbers.tensors) {  // [S,frames,rows,columns]
      if (s.name == std::to_string(n) + ".light") grid = Shape(s.shape.begin() + 1, s.shape.end());
    }
    grids.push_back(std::move(grid));
  }
  return {{"kind", name(scene.kind)},
          {"source", scene.source},
          {"seconds", scene.seconds},
          {"values", std::move(values)},
          {"names", scene.names},
          {"rows", scene.rows},
          {"stepsPerBeat", scene.steps_per_beat},
          {"beatsPerBar", scene.beats_per_bar},
          {"beatSeconds", scene.beat_seconds},
          {"grids", std::move(grids)}};
}

/// Inside a script element only `<` can end the JSON early; the others are for careless readers.
std::string harmless(const std::string& text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '<':
        out += "\\u003c";
        break;
      case '>':
        out += "\\u003e";
        break;
      case '&':
        out += "\\u0026";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace

std::string describe(const Page& page, const Numbers& numbers) {
  json out = {{"program", HEADSCOPE_VERSION},
              {"model",
               {{"name", page.model},
                {"family", page.family},
                {"layers", page.layers},
                {"heads", page.heads},
                {"width", page.width},
                {"parameters", page.parameters}}},
              {"text", page.sighting->text},
              {"rounded", numbers.rounded},
              {"start",
               {{"layer", page.layer},
                {"head", page.head},
                {"row", page.row},
                {"view", page.view},
                {"language", page.language}}}};
  for (const char* list : {"labels", "layers", "roles", "walks"}) out[list] = json::array();
  for (const Label& label : page.sighting->labels) out["labels"].push_back(label_json(label));
  for (std::size_t n = 0; n < page.sighting->layers.size(); ++n)
    out["layers"].push_back(layer_json(*page.sighting, n));
  out["media"] = media_json(page, numbers);
  for (std::size_t i = 0; i < page.roles.size(); ++i) {
    out["roles"].push_back(role_json(page.roles[i]));
    if (i < page.remarks.size()) out["roles"].back()["here"] = page.remarks[i];
  }
  for (const Walk& walk : page.walks) out["walks"].push_back(walk_json(walk));
  // Tokens of byte-level vocabularies may be pieces of letters: shown with U+FFFD, never refused.
  return harmless(out.dump(-1, ' ', false, json::error_handler_t::replace));
}

}  // namespace headscope::report
