#include <algorithm>
#include <cstring>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "report/report_data.h"

namespace headscope::report {
namespace {

/// Names of the tensors in the page: "3.q", "w3.x".
std::string named(int layer, std::string_view what) {
  return std::to_string(layer) + "." + std::string(what);
}

/// Collects tensors while counting their bytes, so that a page too large is refused early.
class Collector {
 public:
  explicit Collector(bool rounded) : rounded_(rounded) {}

  /// Batch element 0 of a tensor [B,...]; nothing when it was not recorded.
  void first(const std::string& name, const Tensor& tensor, bool roundable = false) {
    if (tensor.empty() || tensor.shape().empty() || tensor.dim(0) < 1) return;
    const Shape shape(tensor.shape().begin() + 1, tensor.shape().end());
    const std::size_t one = tensor.bytes() / static_cast<std::size_t>(tensor.dim(0));
    add(name, tensor.dtype(), shape, {tensor.raw(), one}, roundable);
  }
  void whole(const std::string& name, const Tensor& tensor) {
    add(name, tensor.dtype(), tensor.shape(), {tensor.raw(), tensor.bytes()}, false);
  }
  void add(const std::string& name,
           DType dtype,
           const Shape& shape,
           std::span<const std::byte> raw,
           bool roundable) {
    Stored stored{name, dtype, shape, {}};
    if (roundable && rounded_ && dtype == DType::kF32) {
      stored.dtype = DType::kBF16;
      reserve(raw.size() / 2);
      stored.bytes = rounded(raw);
    } else {
      reserve(raw.size());
      stored.bytes.assign(raw.begin(), raw.end());
    }
    out.push_back(std::move(stored));
  }

  std::vector<Stored> out;

 private:
  void reserve(std::size_t more) {
    bytes_ += more;
    if (bytes_ <= kMostBytes) return;
    throw Error(ErrorCode::kResources,
                "[report] expected at most 64 MB of numbers in one page, found more: record fewer "
                "layers or heads, or give a shorter text");
  }
  static std::vector<std::byte> rounded(std::span<const std::byte> f32) {
    std::vector<std::byte> out(f32.size() / 2);
    for (std::size_t i = 0; i < f32.size() / 4; ++i) {
      float x = 0.0F;
      std::memcpy(&x, f32.data() + 4 * i, 4);
      const bf16 half = to_bf16(x);
      std::memcpy(out.data() + 2 * i, &half, 2);
    }
    return out;
  }

  bool rounded_;
  std::size_t bytes_ = 0;
};

/// A view's batch element 0 made contiguous; an axis of 1 stays 1 and the page broadcasts it.
void add_bias(Collector& numbers, const std::string& name, View<const float, 4> bias) {
  const View<const float, 3> first = bias[0];
  std::vector<float> values;
  values.reserve(static_cast<std::size_t>(std::min<std::int64_t>(first.size(), kMostBytes / 4)));
  for (std::int64_t h = 0; h < first.shape[0]; ++h) {
    for (std::int64_t i = 0; i < first.shape[1]; ++i) {
      for (std::int64_t j = 0; j < first.shape[2]; ++j) values.push_back(first(h, i, j));
    }
    if (values.size() > kMostBytes / 4) break;  // refused below, by its size
  }
  numbers.add(name,
              DType::kF32,
              Shape(first.shape.begin(), first.shape.end()),
              std::as_bytes(std::span(values)),
              false);
}

template <typename T>
void add_vector(Collector& numbers, const std::string& name, View<const T, 1> view) {
  std::vector<T> values;
  for (std::int64_t i = 0; i < view.shape[0]; ++i) values.push_back(view(i));
  numbers.add(name, kDTypeOf<T>, {view.shape[0]}, std::as_bytes(std::span(values)), false);
}

void add_options(Collector& numbers, int layer, const FocusOptions& options) {
  if (options.key_mask.data != nullptr) {
    add_vector<std::uint8_t>(numbers, named(layer, "key_mask"), options.key_mask[0]);
  }
  if (options.bias.data != nullptr) add_bias(numbers, named(layer, "bias"), options.bias);
  if (options.slopes.data != nullptr) add_vector(numbers, named(layer, "slopes"), options.slopes);
  if (options.sinks.data != nullptr) add_vector(numbers, named(layer, "sinks"), options.sinks);
}

/// A layer that was left out of the recording has no numbers at all and is shown as such.
bool recorded(const FocusRecord& record) { return record.rows > 0 && !record.heads.empty(); }

/// Whether all keys of the first sequence may see each other: most windows of a picture are whole.
bool whole(const View<const std::int32_t, 2>& segments) {
  if (segments.data == nullptr) return true;
  for (std::int64_t j = 1; j < segments.shape[1]; ++j) {
    if (segments(0, j) != segments(0, 0)) return false;
  }
  return true;
}

void check_record(int layer, const FocusRecord& record) {
  if (!whole(record.options.segments) || record.options.cu_seqlens_q.data != nullptr) {
    throw Error(ErrorCode::kUnsupported,
                "[report] expected one sequence in layer " + std::to_string(layer) +
                    ", found several packed into one: record them one by one");
  }
  if (record.q.empty() || record.k.empty() || record.lse.empty()) {
    throw Error(ErrorCode::kUsage,
                "[report] expected q, k and lse of layer " + std::to_string(layer) +
                    ", found a recording without them: record with Sight::keep_qk");
  }
  const auto heads = static_cast<std::int64_t>(record.heads.size());
  const Shape q{record.batch, heads, record.rows, record.width};
  const Shape k{record.batch, record.groups, record.keys, record.width};
  if (record.q.shape() != q || record.k.shape() != k || record.groups < 1 ||
      record.query_heads % record.groups != 0) {
    throw Error(ErrorCode::kShape,
                "[report] expected q " + to_string(q) + " and k " + to_string(k) + ", found q " +
                    to_string(record.q.shape()) + " and k " + to_string(record.k.shape()));
  }
}

void add_record(Collector& numbers, int layer, const FocusRecord& record) {
  check_record(layer, record);
  numbers.first(named(layer, "q"), record.q, true);
  numbers.first(named(layer, "k"), record.k, true);
  const std::pair<const char*, const Tensor*> rest[] = {
      {"lse", &record.lse},
      {"entropy", &record.entropy},
      {"max_weight", &record.max_weight},
      {"distance_mean", &record.distance_mean},
      {"first_mass", &record.first_mass},
      {"self_mass", &record.self_mass},
      {"previous_mass", &record.previous_mass},
      {"column_mass", &record.column_mass},
      {"pooled_max", &record.pooled_max},
  };
  for (const auto& [name, tensor] : rest) numbers.first(named(layer, name), *tensor);
  add_options(numbers, layer, record.options);
}

/// Whether an edit made the input of `output` differ from what the heads found.
bool edited(const AttentionTrace& trace) {
  const auto z = trace.z.view<float, 4>()[0];
  const auto merged = trace.merged.view<float, 3>()[0];
  if (merged.shape[1] != z.shape[0] * z.shape[2] || merged.shape[0] != z.shape[1]) {
    throw Error(ErrorCode::kShape,
                "[report] expected findings " + to_string(trace.z.shape()) +
                    " side by side, found merged " + to_string(trace.merged.shape()));
  }
  for (std::int64_t h = 0; h < z.shape[0]; ++h) {
    for (std::int64_t t = 0; t < z.shape[1]; ++t) {
      if (std::memcmp(&z(h, t, 0),
                      &merged(t, h * z.shape[2]),
                      sizeof(float) * static_cast<std::size_t>(z.shape[2])) != 0) {
        return true;
      }
    }
  }
  return false;
}

/// The trace of a layer, without what its record already holds.
void add_walk(Collector& numbers, const Page& page, const Walk& walk) {
  const AttentionTrace& trace = *walk.trace;
  const auto name = [&](const char* what) { return "w" + named(walk.layer, what); };
  const auto& layers = page.sighting->layers;
  const auto at = static_cast<std::size_t>(walk.layer);
  std::vector<int> all(static_cast<std::size_t>(trace.q.dim(1)));
  std::iota(all.begin(), all.end(), 0);
  const bool known = at < layers.size() && layers[at].rows > 0 && layers[at].heads == all;
  numbers.first(name("x"), trace.x);
  if (!known) {
    numbers.first(name("q"), trace.q, true);
    numbers.first(name("k"), trace.k, true);
  }
  numbers.first(name("v"), trace.v);
  if (edited(trace)) numbers.first(name("z"), trace.z);
  numbers.first(name("merged"), trace.merged);
  numbers.first(name("out"), trace.out);
  numbers.whole(name("wo"), *walk.output_weight);
  numbers.whole(name("bo"), *walk.output_bias);
}

/// The pictures, and where the light of each head falls on them when all rows are taken together.
void add_scene(Collector& numbers, const Sighting& sighting) {
  const Scene& scene = sighting.scene;
  if (scene.kind != Scene::Kind::kImage && scene.kind != Scene::Kind::kVideo) return;
  if (!scene.pictures.empty()) numbers.whole("pictures", scene.pictures);
  for (std::size_t l = 0; l < sighting.layers.size(); ++l) {
    const FocusRecord& record = sighting.layers[l];
    if (!recorded(record) || record.column_mass.empty()) continue;
    const int layer = static_cast<int>(l);
    std::vector<float> all;
    Shape shape;
    for (const int head : record.heads) {
      const Tensor light = sighting.light(layer, head);
      shape = light.shape();
      all.insert(all.end(), light.span<float>().begin(), light.span<float>().end());
    }
    shape.insert(shape.begin(), static_cast<std::int64_t>(record.heads.size()));
    numbers.add(named(layer, "light"), DType::kF32, shape, std::as_bytes(std::span(all)), false);
  }
}

Collector collect_as(const Page& page, bool rounded) {
  Collector numbers(rounded);
  const auto& layers = page.sighting->layers;
  bool any = false;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    if (!recorded(layers[l])) continue;
    add_record(numbers, static_cast<int>(l), layers[l]);
    any = true;
  }
  if (!any) {
    throw Error(ErrorCode::kUsage,
                "[report] expected a sighting with q, k and lse, found one without any layer");
  }
  for (const Walk& walk : page.walks) add_walk(numbers, page, walk);
  add_scene(numbers, *page.sighting);
  return numbers;
}

/// Bytes of q and k if they stay f32: what decides about rounding, before anything is copied.
std::size_t exact_bytes(const Page& page) {
  std::size_t bytes = 0;
  for (const FocusRecord& record : page.sighting->layers) {
    if (!recorded(record) || record.batch < 1) continue;
    bytes += (record.q.bytes() + record.k.bytes()) / static_cast<std::size_t>(record.batch);
  }
  return bytes;
}

}  // namespace

std::int64_t query_offset(const FocusOptions& options, std::int64_t rows, std::int64_t keys) {
  const bool counted = options.causal || options.window_left >= 0 || options.slopes.data != nullptr;
  return options.query_offset.value_or(counted ? keys - rows : 0);
}

Numbers collect(const Page& page) {
  Numbers numbers;
  numbers.rounded = exact_bytes(page) > kExactBytes;
  numbers.tensors = collect_as(page, numbers.rounded).out;
  return numbers;
}

}  // namespace headscope::report
