#include "cli/edits.h"
#include "cli/json_writer.h"
#include "cli/see_parts.h"
#include "cli/see_period.h"

namespace headscope::cli {

namespace {
template <typename T>
std::span<const T> slice(const Tensor& tensor, std::int64_t slot, std::int64_t n) {
  return tensor.span<T>().subspan(static_cast<std::size_t>(slot * n), static_cast<std::size_t>(n));
}

void write_model(JsonWriter& json, const Seen& seen) {
  json.key("model").begin_object();
  json.field("name", seen.model).field("family", seen.family).field("layers", seen.layers);
  json.field("heads", seen.heads).field("width", seen.width).field("positions", seen.positions);
  json.field("parameters", seen.parameters).end_object();
}

void write_tokens(JsonWriter& json, const Seen& seen) {
  json.key("tokens").begin_array();
  for (std::size_t i = 0; i < seen.sighting->labels.size(); ++i) {
    const Label& label = seen.sighting->labels[i];
    json.begin_object().field("text", label.text);
    if (i < seen.ids.size()) json.field("id", seen.ids[i]);
    json.field("begin", label.begin).field("end", label.end).field("word", label.word);
    json.field("special", label.special);
    if (label.frame >= 0) json.field("frame", label.frame);
    if (label.row >= 0) json.field("row", label.row);
    if (label.column >= 0) json.field("column", label.column);
    json.end_object();
  }
  json.end_array();
  json.key("words").begin_array();
  for (const auto& word : seen.sighting->words()) {
    json.begin_object()
        .field("text", word.text)
        .field("first", word.first)
        .field("last", word.last);
    json.field("special", word.special).end_object();
  }
  json.end_array();
}

void write_scene(JsonWriter& json, const Scene& scene) {
  if (scene.kind == Scene::Kind::kText) return;
  json.key("scene").begin_object().field("kind", name(scene.kind)).field("source", scene.source);
  json.key("values").begin_array();
  for (const double x : scene.values) json.value(x);
  json.end_array().key("names").begin_array();
  for (const std::string& one : scene.names) json.value(one);
  json.end_array().end_object();
}

void write_roles(JsonWriter& json, const Seen& seen) {
  json.key("roles").begin_array();
  for (const Role& role : seen.roles) {
    json.begin_object().field("layer", role.layer).field("head", role.head);
    json.field("letter", role.letter).field("shape", role.shape);
    put_role(json, role);
    if (const auto rows = rows_here(*seen.sighting, role)) {
      json.key("rows_here").begin_object().field("shown", rows->hits).field("rows", rows->rows);
      json.field("period", rows->period).end_object();
    }
    if (const auto here = shown_here(seen, role)) {
      json.key("here").begin_array();
      const auto word = [&](std::string_view key, std::int32_t n) {  // of the tree, from 0
        json.key(key).begin_object().field("word", n);
        if (n >= 0) json.field("text", seen.tree->words[static_cast<std::size_t>(n)].form);
        json.end_object();
      };
      for (const doctor::Followed& link : here->links) {
        json.begin_object();
        word("from", link.from), word("to", link.to), word("looks_at", link.looks_at);
        json.end_object();
      }
      json.end_array();
    }
    json.end_object();
  }
  json.end_array();
}

void write_changes(JsonWriter& json, const Seen& seen) {
  if (!seen.changed) return;
  write_edits(json.key("edits"), seen.edits);
  json.key("changed").begin_object().field("embedding_cosine", seen.changed->cosine);
  json.field("largest_change", seen.changed->largest).field("token", seen.changed->token);
  json.end_object();
}

void write_summary(JsonWriter& json, const Summary& s, bool causal) {
  json.key("summary").begin_object();
  json.field("entropy", s.entropy);
  if (causal && s.entropy_normalised) json.field("entropy_normalised", *s.entropy_normalised);
  json.field("confidence", s.confidence).field("distance_mean", s.distance_mean);
  json.field("distance_var", s.distance_var).field("distance_var_within", s.distance_var_within);
  json.field("first_mass", s.first_mass).field("previous_mass", s.previous_mass);
  json.field("self_mass", s.self_mass).field("next_mass", s.next_mass);
  json.field("sep_mass", s.last_mass);
  if (s.same_rows > 0)
    json.field("same_word_mass", s.same_mass).field("same_word_rows", s.same_rows);
  json.end_object();
}

void write_rows(JsonWriter& json, const FocusRecord& record, std::int64_t slot) {
  const std::int64_t rows = record.rows;
  json.key("rows").begin_object();
  const auto numbers = [&](std::string_view name, const Tensor& t) {
    if (!t.empty()) json.array(name, slice<float>(t, slot, rows));
  };
  numbers("lse", record.lse);
  numbers("entropy", record.entropy);
  numbers("max_weight", record.max_weight);
  json.array("argmax", slice<std::int32_t>(record.argmax, slot, rows));
  numbers("distance_mean", record.distance_mean);
  numbers("distance_var", record.distance_var);
  numbers("first_mass", record.first_mass);
  numbers("self_mass", record.self_mass);
  numbers("previous_mass", record.previous_mass);
  json.end_object();
}

template <typename T>
void write_matrix(JsonWriter& json,
                  std::string_view name,
                  std::span<const T> numbers,
                  std::int64_t columns) {
  json.key(name).begin_array();
  for (std::size_t i = 0; i + 1 <= numbers.size(); i += static_cast<std::size_t>(columns)) {
    json.begin_array();
    for (const T& number : numbers.subspan(i, static_cast<std::size_t>(columns)))
      json.value(number);
    json.end_array();
  }
  json.end_array();
}

void write_head(JsonWriter& json, const Seen& seen, HeadId id, const Summary& summary, bool maps) {
  const FocusRecord& record = seen.sighting->layers[static_cast<std::size_t>(id.layer)];
  const std::int64_t slot = record.slot(id.head);
  json.begin_object().field("head", id.head);
  write_summary(json, summary, record.options.causal);
  write_rows(json, record, slot);
  if (!record.top_keys.empty()) {
    const std::int64_t k = record.top_keys.dim(3);
    write_matrix(json, "top_keys", slice<std::int32_t>(record.top_keys, slot, record.rows * k), k);
    write_matrix(json, "top_weights", slice<float>(record.top_weights, slot, record.rows * k), k);
  }
  if (!record.column_mass.empty()) {
    json.array("column_mass", slice<float>(record.column_mass, slot, record.keys));
  }
  if (maps) {
    const Tensor map = seen.sighting->map(id.layer, id.head);
    write_matrix(json, "map", map.span<float>(), record.keys);
  }
  json.end_object();
}

bool wanted(const Seen& seen, HeadId id) {
  if (seen.large.empty()) return !seen.layer || *seen.layer == id.layer;
  for (const HeadId large : seen.large) {
    if (large == id) return true;
  }
  return false;
}
}  // namespace

void put_role(JsonWriter& json, const Role& role) {
  json.field("en", role.en).field("ru", role.ru).field("source", role.source).field("n", role.n);
  if (role.n > 0) json.field("score", role.score).field("baseline", role.baseline);
}

std::string see_json(const Seen& seen, bool maps) {
  const auto summaries = summarise(*seen.sighting);
  JsonWriter json;
  json.begin_object().field("headscope", HEADSCOPE_VERSION).field("verb", "see");
  write_model(json, seen);
  json.field("text", seen.sighting->text);
  if (seen.tokens_before_cut > 0) json.field("tokens_before_cut", seen.tokens_before_cut);
  if (seen.run_ms) json.field("run_ms", *seen.run_ms);
  if (!seen.remarks.empty()) {
    json.key("remarks").begin_array();
    for (const std::string& remark : seen.remarks) json.value(remark);
    json.end_array();
  }
  write_tokens(json, seen);
  write_scene(json, seen.sighting->scene);
  json.key("unknown_words").begin_array();
  for (const std::string& word : seen.unknown) json.value(word);
  json.end_array();
  write_roles(json, seen);
  write_changes(json, seen);
  json.key("layers").begin_array();
  for (std::size_t l = 0; l < seen.sighting->layers.size(); ++l) {
    const int layer = static_cast<int>(l);
    bool any = false;
    for (const int h : seen.sighting->layers[l].heads) {
      if (!wanted(seen, {layer, h})) continue;
      if (!any) json.begin_object().field("layer", layer).key("heads").begin_array();
      any = true;
      write_head(json, seen, {layer, h}, summaries[l][static_cast<std::size_t>(h)], maps);
    }
    if (any) json.end_array().end_object();
  }
  json.end_array().end_object();
  return std::move(json).take();
}

}  // namespace headscope::cli
