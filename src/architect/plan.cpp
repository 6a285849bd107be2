#include "architect/plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "headscope/error.h"
#include "headscope/train.h"
#include "models/census.h"
#include "models/model_files.h"
#include "models/resized.h"
#include "tensor/quants.h"

namespace headscope::architect {

namespace {

/// Rows that are read at once: as Generator does.
constexpr std::int64_t kBlock = 512;

/// Keys that rows of a sequence of n tokens see in all, and those that the last of them sees.
struct Seen {
  double all = 0.0, last = 0.0;
};

Seen seen(const models::AttentionFacts& a, std::int64_t n) {
  const auto T = static_cast<double>(n);
  const auto side = [&](std::int64_t window) {
    const double w = window < 0 ? T - 1.0 : std::min(T - 1.0, static_cast<double>(window));
    return w * T - w * (w + 1.0) / 2.0;  // keys on one side, of all rows
  };
  const double left = side(a.window_left);
  const double reach =
      a.window_left < 0 ? T : std::min(T, static_cast<double>(a.window_left) + 1.0);
  if (a.causal) return {left + T, reach};
  return {left + T + side(a.window_right), reach};
}

std::uint64_t working_bytes(const models::Blueprint& b, std::int64_t rows, std::int64_t logits) {
  std::int64_t widest = 0;
  for (const models::LayerFacts& layer : b.layers) {
    const models::AttentionFacts& a = layer.attention;
    const std::int64_t attention =
        (a.heads + a.groups) * a.width + a.groups * a.value_width + a.heads * a.value_width;
    const models::MlpFacts& m = layer.mlp;
    const std::int64_t wide = m.experts ? m.experts->width * m.experts->chosen : m.width;
    const std::int64_t mlp = wide * (m.form == models::MlpFacts::Form::kPlain ? 1 : 2);
    widest = std::max(widest, std::max(attention, mlp));
  }
  return sizeof(float) *
         static_cast<std::uint64_t>(rows * (4 * b.width + widest) + logits * b.vocabulary);
}

void check(const Draft& draft, const models::Blueprint& b) {
  if (draft.context < 1 || draft.context > b.positions) {
    throw Error(
        ErrorCode::kUsage,
        fmt::format("[context] expected 1 to {} tokens, the positions of the model, found {}",
                    b.positions,
                    draft.context));
  }
  if (draft.batch < 1 || draft.batch > 65536) {
    throw Error(ErrorCode::kUsage,
                fmt::format("[batch] expected 1 to 65536 sequences, found {}", draft.batch));
  }
  if (draft.cache != DType::kF32 && draft.cache != DType::kBF16) {
    throw Error(ErrorCode::kUsage,
                fmt::format("[cache] expected f32 or bf16, found {}", name(draft.cache)));
  }
  if (!quants::can_quantise(draft.dtype)) {
    throw Error(
        ErrorCode::kUnsupported,
        fmt::format("[dtype] expected a dtype that is written here, found {}", name(draft.dtype)));
  }
}

}  // namespace

std::int64_t train_length(const Draft& draft) { return std::min<std::int64_t>(draft.context, 512); }

bool trains(const Draft& draft) {
  const auto type = json::get_or<std::string>(draft.config, "model_type", "", "config.json");
  constexpr const char* kTypes[] = {
      "bert", "gpt2", "llama", "mistral", "modernbert", "qwen2", "roberta"};
  return std::find(std::begin(kTypes), std::end(kTypes), type) != std::end(kTypes);
}

std::uint64_t cache_bytes(const models::Blueprint& b, DType dtype, std::int64_t context) {
  const auto T = static_cast<double>(context);
  double cache = 0.0;
  for (const models::LayerFacts& layer : b.layers) {
    const models::AttentionFacts& a = layer.attention;
    // See KvCache: a window, or a block more.
    const auto w = static_cast<double>(a.window_left);
    const double room = std::max(2.0 * w, w + static_cast<double>(kBlock));
    const double kept = a.window_left < 0 ? T : std::min(T, room);
    cache += kept * static_cast<double>(a.groups * (a.width + a.value_width));
  }
  return static_cast<std::uint64_t>(cache) * size_of(dtype);
}

Figures figures(const Draft& draft) {
  const models::Blueprint b = models::read_blueprint(draft.config);
  check(draft, b);
  const models::Census census =
      models::census(b, draft.config, models::architecture_of(draft.config));
  const models::AttentionFacts& first = b.layers.front().attention;
  Figures out{.family = b.family,
              .layers = static_cast<std::int64_t>(b.layers.size()),
              .width = b.width,
              .heads = first.heads,
              .groups = first.groups,
              .head_width = first.width,
              .parameters = census.parameters(),
              .causal = first.causal};
  const bool packed = b.matrices == Linear::Layout::kInOut;
  out.weight_bytes = census.bytes(packed ? DType::kF32 : draft.dtype);
  const auto T = static_cast<double>(draft.context);
  out.read_flop = out.decode_flop = 2.0 * census.products;
  for (const models::LayerFacts& layer : b.layers) {
    const models::AttentionFacts& a = layer.attention;
    const Seen keys = seen(a, draft.context);
    const auto pair = 2.0 * static_cast<double>(a.heads * (a.width + a.value_width));
    out.read_flop += pair * keys.all / T;
    out.decode_flop += pair * keys.last;
    out.causal = out.causal && a.causal;
  }
  if (out.causal) {
    out.cache_bytes =
        static_cast<std::uint64_t>(draft.batch) * cache_bytes(b, draft.cache, draft.context);
  }
  const std::int64_t rows = out.causal ? std::max(draft.batch, std::min(draft.context, kBlock))
                                       : draft.batch * draft.context;
  out.working_bytes = working_bytes(b, rows, out.causal ? draft.batch : rows);
  if (trains(draft)) out.training_bytes = 16 * static_cast<std::uint64_t>(out.parameters);
  return out;
}

Draft with_heads(const Draft& draft, std::int64_t heads, std::optional<std::int64_t> groups) {
  Draft out = draft;
  models::Sizes sizes;
  sizes.heads = heads;
  sizes.groups = groups;
  out.config = models::resized(draft.config, sizes);
  return out;
}

Advice advise(const Draft& draft, std::uint64_t budget) {
  Advice out;
  const Figures own = figures(draft);
  std::int64_t fewest = own.groups;
  for (std::int64_t G = own.heads; G >= 1; --G) {
    if (own.heads % G != 0) continue;
    try {
      const Figures f = figures(with_heads(draft, own.heads, G));
      fewest = G;
      if (!out.groups && f.memory() <= budget) out.groups = G;
    } catch (const Error&) {  // a family whose groups are what they are
      if (G == own.groups && own.memory() <= budget) out.groups = G;
    }
  }
  // The longest context: memory grows with it.
  std::int64_t low = 0;
  std::int64_t high = models::read_blueprint(draft.config).positions;
  while (low < high) {
    const std::int64_t middle = low + (high - low + 1) / 2;
    Draft other = draft;
    other.context = middle;
    if (figures(other).memory() <= budget)
      low = middle;
    else
      high = middle - 1;
  }
  out.context = low;
  Draft least = fewest == own.groups ? draft : with_heads(draft, own.heads, fewest);
  for (const DType dtype : {DType::kBF16, DType::kQ8_0, DType::kQ4_0}) {
    least.dtype = dtype;
    least.cache = DType::kBF16;
    const std::uint64_t bytes = figures(least).memory();
    if (out.least != 0 && bytes >= out.least) continue;
    out.least = bytes;
    out.dtype = dtype;
  }
  return out;
}

}  // namespace headscope::architect
