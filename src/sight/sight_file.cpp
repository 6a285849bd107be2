// .sight files: a safetensors file whose metadata describes the run as JSON, so that any language
// that reads safetensors reads a Sighting.
#include <fmt/format.h>

#include <cmath>
#include <map>

#include "attention/focus_plan.h"
#include "formats/json.h"
#include "headscope/safetensors.h"
#include "headscope/sighting.h"

namespace headscope {

namespace {

using json::Value;

constexpr int kVersion = 1;
constexpr const char* kKey = "headscope.sight";
constexpr const char* kPictures = "scene.pictures";

// The tensors of a record that a file may hold, by name; axes after [B,S] that must fit.
struct Field {
  const char* name;
  Tensor FocusRecord::*tensor;
  DType dtype;
  enum Axes { kRows, kRowsByTop, kKeys, kCells, kRowsByWidth, kGroupsByWidth } axes;
};

constexpr Field kFields[] = {
    {"lse", &FocusRecord::lse, DType::kF32, Field::kRows},
    {"entropy", &FocusRecord::entropy, DType::kF32, Field::kRows},
    {"max_weight", &FocusRecord::max_weight, DType::kF32, Field::kRows},
    {"argmax", &FocusRecord::argmax, DType::kI32, Field::kRows},
    {"distance_mean", &FocusRecord::distance_mean, DType::kF32, Field::kRows},
    {"distance_var", &FocusRecord::distance_var, DType::kF32, Field::kRows},
    {"first_mass", &FocusRecord::first_mass, DType::kF32, Field::kRows},
    {"self_mass", &FocusRecord::self_mass, DType::kF32, Field::kRows},
    {"previous_mass", &FocusRecord::previous_mass, DType::kF32, Field::kRows},
    {"top_keys", &FocusRecord::top_keys, DType::kI32, Field::kRowsByTop},
    {"top_weights", &FocusRecord::top_weights, DType::kF32, Field::kRowsByTop},
    {"column_mass", &FocusRecord::column_mass, DType::kF32, Field::kKeys},
    {"pooled_mean", &FocusRecord::pooled_mean, DType::kF32, Field::kCells},
    {"pooled_max", &FocusRecord::pooled_max, DType::kF32, Field::kCells},
    {"q", &FocusRecord::q, DType::kF32, Field::kRowsByWidth},
    {"k", &FocusRecord::k, DType::kF32, Field::kGroupsByWidth},
};

[[noreturn]] void bad(const std::string& file, const std::string& what) {
  throw Error(ErrorCode::kFormat, "[" + file + "] " + what);
}

Value describe_layer(const FocusRecord& r) {
  const FocusOptions& o = r.options;
  Value v = {{"batch", r.batch},
             {"query_heads", r.query_heads},
             {"groups", r.groups},
             {"rows", r.rows},
             {"keys", r.keys},
             {"width", r.width},
             {"heads", r.heads},
             {"scale", o.scale.value_or(0.0F)},
             {"causal", o.causal},
             {"window_left", o.window_left},
             {"window_right", o.window_right},
             {"prefix", o.prefix},
             {"softcap", o.softcap}};
  if (o.query_offset) v["query_offset"] = *o.query_offset;
  return v;
}

Value describe_labels(const std::vector<Label>& labels) {
  Value out = Value::array();
  for (const Label& l : labels) {
    Value one = {{"text", l.text},
                 {"begin", l.begin},
                 {"end", l.end},
                 {"word", l.word},
                 {"special", l.special}};
    if (l.frame >= 0) one["frame"] = l.frame;
    if (l.row >= 0) one["row"] = l.row;
    if (l.column >= 0) one["column"] = l.column;
    out.push_back(std::move(one));
  }
  return out;
}

Value describe_scene(const Scene& scene) {
  Value values = Value::array();
  for (const double x : scene.values)
    values.push_back(std::isfinite(x) ? Value(x) : Value(nullptr));
  return {{"kind", name(scene.kind)},
          {"source", scene.source},
          {"seconds", scene.seconds},
          {"values", std::move(values)},
          {"names", scene.names},
          {"rows", scene.rows},
          {"steps_per_beat", scene.steps_per_beat},
          {"beats_per_bar", scene.beats_per_bar},
          {"beat_seconds", scene.beat_seconds}};
}

Value describe(const Sighting& s) {
  Value layers = Value::array();
  for (const FocusRecord& r : s.layers)
    layers.push_back(r.batch == 0 ? Value(nullptr) : describe_layer(r));
  Value v = {{"version", kVersion},
             {"model", s.model},
             {"text", s.text},
             {"labels", describe_labels(s.labels)},
             {"layers", std::move(layers)}};
  if (s.scene.kind != Scene::Kind::kText) v["scene"] = describe_scene(s.scene);
  if (!s.layer_labels.empty()) {
    Value all = Value::array();
    for (const std::vector<Label>& labels : s.layer_labels) all.push_back(describe_labels(labels));
    v["layer_labels"] = std::move(all);
  }
  if (s.encoder_layers > 0) {
    v["encoder_layers"] = s.encoder_layers;
    v["decoder_layers"] = s.decoder_layers;
    v["answer"] = describe_labels(s.answer);
  }
  return v;
}

// Bytes of labels lie inside the text, and there is a label for every row.
void check_labels(const Sighting& s, const std::string& where) {
  const auto bytes = static_cast<std::int64_t>(s.text.size());
  for (const std::vector<Label>* labels : {&s.labels, &s.answer}) {
    for (const Label& label : *labels) {
      if (label.begin < 0 || label.end < label.begin || label.end > bytes) {
        bad(where,
            fmt::format(
                "expected label bytes within 0..{}, found {}..{}", bytes, label.begin, label.end));
      }
    }
  }
  const std::int64_t stacks = std::int64_t{s.encoder_layers} + 2 * std::int64_t{s.decoder_layers};
  if (s.encoder_layers < 0 || s.decoder_layers < 0 ||
      (s.encoder_layers > 0 && !s.layers.empty() &&
       stacks != static_cast<std::int64_t>(s.layers.size()))) {
    bad(where,
        fmt::format("expected {} + 2 * {} layers, found {}",
                    s.encoder_layers,
                    s.decoder_layers,
                    s.layers.size()));
  }
  for (std::size_t n = 0; n < s.layers.size(); ++n) {
    const FocusRecord& r = s.layers[n];
    const std::vector<Label>& labels = s.row_labels(static_cast<int>(n));
    const bool own = n < s.layer_labels.size() && !s.layer_labels[n].empty();
    // A probe that pools a picture has one row; its keys are the patches.
    const std::int64_t wanted = s.scene.kind == Scene::Kind::kText ? r.rows : r.keys;
    if (r.batch > 0 && !own && !labels.empty() &&
        static_cast<std::int64_t>(labels.size()) != wanted) {
      bad(where, fmt::format("expected {} labels, found {}", wanted, labels.size()));
    }
  }
}

void read_labels(const Value& from, const std::string& file, std::vector<Label>& to) {
  for (const Value& one : from) {
    Label label;
    label.text = json::require<std::string>(one, "text", file);
    label.begin = json::require<std::int64_t>(one, "begin", file);
    label.end = json::require<std::int64_t>(one, "end", file);
    label.word = json::require<std::int64_t>(one, "word", file);
    label.special = json::require<bool>(one, "special", file);
    const auto place = [&](const char* key) {
      const auto n = json::get_or<std::int64_t>(one, key, -1, file);
      if (n < -1 || n >= (1 << 20))
        bad(file, fmt::format("expected {} of a label below 2^20, found {}", key, n));
      return static_cast<int>(n);
    };
    label.frame = place("frame");
    label.row = place("row");
    label.column = place("column");
    to.push_back(std::move(label));
  }
}

void read_scene(const Value& from, const Safetensors& file, Scene& scene) {
  const std::string& name = file.name();
  scene.kind = scene_kind(json::require<std::string>(from, "kind", name));
  scene.source = json::require<std::string>(from, "source", name);
  scene.seconds = json::require<std::vector<double>>(from, "seconds", name);
  for (const Value& x : json::require<Value>(from, "values", name)) {
    if (!x.is_null() && !x.is_number()) bad(name, "expected values to be numbers or null");
    scene.values.push_back(x.is_null() ? std::nan("") : x.get<double>());
  }
  scene.names = json::require<std::vector<std::string>>(from, "names", name);
  scene.rows = json::require<std::vector<std::string>>(from, "rows", name);
  scene.steps_per_beat = json::require<int>(from, "steps_per_beat", name);
  scene.beats_per_bar = json::require<int>(from, "beats_per_bar", name);
  scene.beat_seconds = json::require<double>(from, "beat_seconds", name);
  if (scene.steps_per_beat < 1 || scene.beats_per_bar < 1 || !(scene.beat_seconds > 0.0))
    bad(name, "expected steps, beats and seconds above 0 in the scene");
  const AnyView* pictures = file.find(kPictures);
  if (pictures == nullptr) return;
  if (pictures->dtype != DType::kU8 || pictures->shape.size() != 4 || pictures->shape[3] != 3)
    bad(name, "expected pictures u8 [N,H,W,3], found " + to_string(pictures->shape));
  scene.pictures = Tensor::copy_of(*pictures);
}

// There are labels for every key of every sequence of a layer that has its own.
void check_layer_labels(const Sighting& s, const std::string& where) {
  if (s.layer_labels.empty()) return;
  if (s.layer_labels.size() != s.layers.size()) {
    bad(where,
        fmt::format(
            "expected labels of {} layers, found {}", s.layers.size(), s.layer_labels.size()));
  }
  for (std::size_t n = 0; n < s.layers.size(); ++n) {
    const FocusRecord& r = s.layers[n];
    const std::size_t found = s.layer_labels[n].size();
    if (found != 0 && static_cast<std::int64_t>(found) != r.batch * r.keys) {
      bad(where,
          fmt::format("expected {} x {} labels of layer {}, found {}", r.batch, r.keys, n, found));
    }
  }
}

void read_sizes(const Value& from, const std::string& file, FocusRecord& r) {
  const auto size = [&](const char* key) {
    const auto x = json::require<std::int64_t>(from, key, file);
    constexpr std::int64_t kMost = std::int64_t{1} << 31;
    if (x < 0 || x > kMost) bad(file, fmt::format("expected {} 0..2^31, found {}", key, x));
    return x;
  };
  r.batch = size("batch");
  r.query_heads = size("query_heads");
  r.groups = size("groups");
  r.rows = size("rows");
  r.keys = size("keys");
  r.width = size("width");
  if (r.batch < 1 || r.groups < 1 || r.query_heads % r.groups != 0) {
    bad(file,
        fmt::format("expected groups to divide heads, found {} and {}", r.groups, r.query_heads));
  }
  r.heads = json::require<std::vector<int>>(from, "heads", file);
  for (int h : r.heads) {
    if (h < 0 || h >= r.query_heads)
      bad(file, fmt::format("expected heads 0..{}, found {}", r.query_heads - 1, h));
  }
  FocusOptions& o = r.options;
  o.scale = json::require<float>(from, "scale", file);
  o.causal = json::require<bool>(from, "causal", file);
  o.window_left = json::require<std::int64_t>(from, "window_left", file);
  o.window_right = json::require<std::int64_t>(from, "window_right", file);
  o.prefix = json::require<std::int64_t>(from, "prefix", file);
  o.softcap = json::require<float>(from, "softcap", file);
  if (json::find(from, "query_offset", file) != nullptr) {
    o.query_offset = json::require<std::int64_t>(from, "query_offset", file);
  }
}

bool fits(const FocusRecord& r, const Field& field, const Shape& shape) {
  const auto S = static_cast<std::int64_t>(r.heads.size());
  switch (field.axes) {
    case Field::kRows:
      return shape == Shape{r.batch, S, r.rows};
    case Field::kRowsByTop:
      return shape.size() == 4 && shape == Shape{r.batch, S, r.rows, shape[3]};
    case Field::kKeys:
      return shape == Shape{r.batch, S, r.keys};
    case Field::kCells:
      return shape.size() == 4 && shape == Shape{r.batch, S, shape[2], shape[3]};
    case Field::kRowsByWidth:
      return shape == Shape{r.batch, S, r.rows, r.width};
    case Field::kGroupsByWidth:
      return shape == Shape{r.batch, r.groups, r.keys, r.width};
  }
  return false;
}

void read_tensors(const Safetensors& file, std::size_t layer, FocusRecord& r) {
  for (const Field& field : kFields) {
    const std::string name = fmt::format("{}.{}", layer, field.name);
    const AnyView* found = file.find(name);
    if (found == nullptr) continue;
    const bool kept = field.axes == Field::kRowsByWidth || field.axes == Field::kGroupsByWidth;
    const bool same = found->dtype == field.dtype || (kept && found->dtype == DType::kBF16);
    if (!same || !fits(r, field, found->shape)) {
      bad(file.name(),
          fmt::format("expected {} to be {} and fit its layer, found {} {}",
                      name,
                      headscope::name(field.dtype),
                      headscope::name(found->dtype),
                      to_string(found->shape)));
    }
    r.*field.tensor = Tensor::copy_of(*found);
    if (field.dtype != DType::kI32) continue;
    for (std::int32_t key : (r.*field.tensor).span<std::int32_t>()) {
      if (key < -1 || key >= r.keys)
        bad(file.name(),
            fmt::format("expected keys -1..{} in {}, found {}", r.keys - 1, name, key));
    }
  }
  if (!r.q.empty() && !r.k.empty() && r.q.dtype() != r.k.dtype())
    bad(file.name(), "expected q and k of one type, found f32 and bf16");
  if (r.width < 1 && !(r.q.empty() && r.k.empty()))
    bad(file.name(), "expected q and k with a width, found none");
  if (r.lse.empty()) bad(file.name(), fmt::format("expected {}.lse, found none", layer));
}

template <typename T, int N>
void read_view(const Safetensors& file,
               const std::string& name,
               const Shape& most,
               FocusRecord& r,
               View<const T, N>& to) {
  const AnyView* found = file.find(name);
  if (found == nullptr) return;
  bool same = found->dtype == kDTypeOf<T> && found->shape.size() == most.size();
  for (std::size_t a = 0; same && a < most.size(); ++a) {
    same = found->shape[a] == most[a] || (N == 4 && a < 3 && found->shape[a] == 1);
  }
  if (!same)
    bad(file.name(),
        fmt::format("expected {} {}, found {}", name, to_string(most), to_string(found->shape)));
  r.owned.push_back(std::make_shared<const Tensor>(Tensor::copy_of(*found)));
  to = r.owned.back()->view<T, N>();
}

template <typename T, int N>
AnyView any(const View<const T, N>& view) {
  return {kDTypeOf<T>,
          Shape(view.shape.begin(), view.shape.end()),
          reinterpret_cast<const std::byte*>(view.data)};
}

}  // namespace

void Sighting::save(const std::filesystem::path& path) const {
  check_labels(*this, "sight");
  check_layer_labels(*this, "sight");
  // A token may be a part of a character: what is not UTF-8 is shown as U+FFFD.
  const std::string about = describe(*this).dump(-1, ' ', false, Value::error_handler_t::replace);
  std::map<std::string, AnyView, std::less<>> tensors;
  for (std::size_t n = 0; n < layers.size(); ++n) {
    const FocusRecord& r = layers[n];
    const auto put = [&](const char* name, const AnyView& view) {
      tensors.emplace(fmt::format("{}.{}", n, name), view);
    };
    for (const Field& field : kFields) {
      if (!(r.*field.tensor).empty()) put(field.name, (r.*field.tensor).any());
    }
    if (r.options.key_mask.data != nullptr) put("key_mask", any(r.options.key_mask));
    if (r.options.bias.data != nullptr) put("bias", any(r.options.bias));
    if (r.options.slopes.data != nullptr) put("slopes", any(r.options.slopes));
    if (r.options.sinks.data != nullptr) put("sinks", any(r.options.sinks));
    if (r.options.segments.data != nullptr) put("segments", any(r.options.segments));
    if (r.options.cu_seqlens_q.data != nullptr) put("cu_seqlens_q", any(r.options.cu_seqlens_q));
    if (r.options.cu_seqlens_k.data != nullptr) put("cu_seqlens_k", any(r.options.cu_seqlens_k));
  }
  if (!scene.pictures.empty()) tensors.emplace(kPictures, scene.pictures.any());
  write_safetensors(path, tensors, {{kKey, about}});
}

Sighting Sighting::load(const std::filesystem::path& path) {
  const Safetensors file = Safetensors::open(path);
  const auto about = file.metadata().find(kKey);
  if (about == file.metadata().end())
    bad(file.name(), "expected a .sight file, found no headscope.sight in its metadata");
  const Value v = json::parse(about->second, file.name());
  const auto version = json::require<int>(v, "version", file.name());
  if (version != kVersion) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("[{}] expected version {}, found {}", file.name(), kVersion, version));
  }
  Sighting s;
  s.model = json::require<std::string>(v, "model", file.name());
  s.text = json::require<std::string>(v, "text", file.name());
  read_labels(json::require<Value>(v, "labels", file.name()), file.name(), s.labels);
  s.encoder_layers = json::get_or<int>(v, "encoder_layers", 0, file.name());
  s.decoder_layers = json::get_or<int>(v, "decoder_layers", 0, file.name());
  if (s.encoder_layers > 0)
    read_labels(json::require<Value>(v, "answer", file.name()), file.name(), s.answer);
  if (const Value* scene = json::find(v, "scene", file.name())) read_scene(*scene, file, s.scene);
  if (const Value* all = json::find(v, "layer_labels", file.name())) {
    for (const Value& one : *all) read_labels(one, file.name(), s.layer_labels.emplace_back());
  }
  const Value layers = json::require<Value>(v, "layers", file.name());
  if (!layers.is_array()) bad(file.name(), "expected layers to be an array");
  for (const Value& one : layers) {
    FocusRecord& r = s.layers.emplace_back();
    if (one.is_null()) continue;
    const std::size_t n = s.layers.size() - 1;
    read_sizes(one, file.name(), r);
    read_tensors(file, n, r);
    FocusOptions& o = r.options;
    read_view(file, fmt::format("{}.key_mask", n), {r.batch, r.keys}, r, o.key_mask);
    read_view(file, fmt::format("{}.bias", n), {r.batch, r.query_heads, r.rows, r.keys}, r, o.bias);
    read_view(file, fmt::format("{}.slopes", n), {r.query_heads}, r, o.slopes);
    read_view(file, fmt::format("{}.sinks", n), {r.query_heads}, r, o.sinks);
    read_view(file, fmt::format("{}.segments", n), {r.batch, r.keys}, r, o.segments);
    for (const auto& [name, to] :
         {std::pair{"cu_seqlens_q", &o.cu_seqlens_q}, std::pair{"cu_seqlens_k", &o.cu_seqlens_k}}) {
      const std::string full = fmt::format("{}.{}", n, name);
      const AnyView* found = file.find(full);
      if (found != nullptr) read_view(file, full, {found->size()}, r, *to);
    }
    check_packing(o, r.batch, r.rows, r.keys);
  }
  check_layer_labels(s, file.name());
  check_labels(s, file.name());
  return s;
}

}  // namespace headscope
