#include "architect/plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "headscope/error.h"
#include "headscope/train.h"
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

const models::WantedTensor* tensor_of(const models::Census& census, const std::string& name) {
  const auto found = std::find_if(census.tensors.begin(),
                                  census.tensors.end(),
                                  [&](const auto& tensor) { return tensor.name == name; });
  return found == census.tensors.end() ? nullptr : &*found;
}

/// Numbers that a head gives for a row: words, or classes.
std::int64_t classes_of(const models::Blueprint& b,
                        const models::Census& census,
                        const models::HeadBlueprint& head) {
  const models::WantedTensor* out = tensor_of(census, head.out + ".weight");
  return out == nullptr || out->shape.empty() ? b.vocabulary : out->shape.front();
}

/// `logits`: numbers of all of them.
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
  return sizeof(float) * static_cast<std::uint64_t>(rows * (4 * b.width + widest) + logits);
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
  if (std::find(std::begin(kTypes), std::end(kTypes), type) == std::end(kTypes)) return false;
  // Without a head there is no loss.
  return models::head_of(models::read_blueprint(draft.config),
                         models::architecture_of(draft.config)) != nullptr;
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

models::Blueprint blueprint_of(const Draft& draft) {
  models::Blueprint b = models::read_blueprint(draft.config);
  if (draft.pooler && !*draft.pooler) {
    b.pooler.clear();
    std::erase_if(b.heads_on_top, [](const models::HeadBlueprint& head) {
      return head.from == models::HeadBlueprint::From::kPooler;
    });
  }
  if (draft.headless) b.heads_on_top.clear();
  return b;
}

models::Census census_of(const models::Blueprint& b, const Draft& draft) {
  models::Census out = models::census(b, draft.config, models::architecture_of(draft.config));
  // A file may have a pooler that its class has no use for: it is read and run all the same.
  const bool pooled = draft.pooler.value_or(false) && !b.pooler.empty();
  if (!pooled || tensor_of(out, b.pooler + ".weight") != nullptr) return out;
  using Kind = models::WantedTensor::Kind;
  out.tensors.push_back({b.pooler + ".weight", {b.width, b.width}, Kind::kMatrix});
  if (models::biased(draft.config, b.pooler))
    out.tensors.push_back({b.pooler + ".bias", {b.width}, Kind::kBias});
  out.products += static_cast<double>(b.width) * static_cast<double>(b.width);
  return out;
}

void look_into(Draft& draft, const std::function<bool(const std::string& name)>& has) {
  const models::Blueprint b = models::read_blueprint(draft.config);
  if (!b.pooler.empty()) draft.pooler = has(b.pooler + ".weight");
  if (b.causal_head)
    return;  // decoders foretell words by their embeddings, where there is nothing else
  const auto any = [&](const std::string& name) {
    constexpr const char* kEndings[] = {".weight", ".bias", ".gamma", ".beta"};
    return !name.empty() && std::any_of(std::begin(kEndings),
                                        std::end(kEndings),
                                        [&](const char* ending) { return has(name + ending); });
  };
  const std::string architecture = models::architecture_of(draft.config);
  draft.headless =
      std::none_of(b.heads_on_top.begin(), b.heads_on_top.end(), [&](const auto& head) {
        if (!architecture.ends_with(head.architecture)) return false;
        const bool words_alone = head.tied && head.dense.empty();
        return words_alone || any(head.dense) || any(head.norm) || any(head.out) ||
               (!head.out_bias.empty() && has(head.out_bias));
      });
}

Figures figures(const Draft& draft) {
  const models::Blueprint b = blueprint_of(draft);
  check(draft, b);
  const models::Census census = census_of(b, draft);
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
  out.kept = packed ? DType::kF32 : draft.dtype;
  out.weight_bytes = census.bytes(out.kept);
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
  std::int64_t logits = 0;
  out.generates = false;
  if (const auto* head = models::head_of(b, models::architecture_of(draft.config));
      head != nullptr) {
    const std::int64_t classes = classes_of(b, census, *head);
    const bool every = head->from == models::HeadBlueprint::From::kEveryToken;
    out.generates = out.causal && every && classes == b.vocabulary;
    logits = classes * (every && !out.generates ? rows : draft.batch);
  }
  if (!out.generates) out.decode_flop = 0.0;
  out.working_bytes = working_bytes(b, rows, logits);
  if (trains(draft)) out.training_bytes = 16 * static_cast<std::uint64_t>(out.parameters);
  return out;
}

Speeds better(const Speeds& a, const Speeds& b) {
  Speeds out;
  out.read = std::max(a.read, b.read);
  out.decode = std::max(a.decode, b.decode);
  out.train = std::max(a.train, b.train);
  out.seconds = a.seconds + b.seconds;
  out.around = a.around > 0.0 && b.around > 0.0 ? std::min(a.around, b.around)
                                                : std::max(a.around, b.around);
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
    const Figures f = figures(least);
    if (out.least != 0 && f.memory() >= out.least) continue;
    out.least = f.memory();
    out.dtype = f.kept;
  }
  return out;
}

}  // namespace headscope::architect
