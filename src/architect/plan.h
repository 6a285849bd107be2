#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "formats/json.h"
#include "headscope/tensor.h"
#include "models/blueprint.h"
#include "models/census.h"

namespace headscope {
class KvCache;
}

/// What a model of some sizes will cost, before there is one: numbers, memory, and the speed of this machine.
namespace headscope::architect {

/// A model that may not exist yet, and how it would be used.
struct Draft {
  json::Value config;          ///< of a family of texts, one stack
  DType dtype = DType::kBF16;  ///< of matrices and tables
  DType cache = DType::kF32;   ///< of keys and values: f32 or bf16
  std::int64_t context = 2048;
  std::int64_t batch = 1;  ///< sequences that are decoded, or trained on, at once
  /// What a file at hand has of parts that files may lack: a dense layer on the first token, and all that
  /// belongs to the head alone. None: as the class that config.json names wants them.
  std::optional<bool> pooler{};
  bool headless = false;
};

/// What follows from the sizes alone.
struct Figures {
  std::string family;
  std::int64_t layers = 0, width = 0, heads = 0, groups = 0, head_width = 0;
  std::int64_t parameters = 0;
  DType kept = DType::kBF16;  ///< of matrices: the draft's, or f32 where a family's are packed
  bool causal = true;
  bool generates = true;  ///< causal, with words on top
  /// flop a token: mean over a context that is read, and of the token behind it that is decoded (0: it generates
  /// nothing).
  double read_flop = 0.0, decode_flop = 0.0;
  std::uint64_t weight_bytes = 0;
  std::uint64_t cache_bytes = 0;  ///< of all sequences at the whole context; 0 for encoders
  std::uint64_t working_bytes =
      0;  ///< activations of a block of rows, logits of a head included; about
  /// Values, gradients, both moments (f32); without activations. 0 where nothing here trains the family.
  std::uint64_t training_bytes = 0;

  [[nodiscard]] std::uint64_t memory() const { return weight_bytes + cache_bytes + working_bytes; }
};

/// Tokens a second of all sequences together; 0: not measured.
struct Speeds {
  double read = 0.0;    ///< prefill of the whole context
  double decode = 0.0;  ///< behind the whole context
  double train = 0.0;  ///< steps of `batch` sequences of train_length(draft) tokens, AdamW included
  double seconds = 0.0;  ///< that measuring took
  double around = 0.0;   ///< seconds of a training step outside the layers; 0: not measured
};

/// Errors: kUsage for a context beyond the positions, batches below 1; kUnsupported for dtypes that nothing here
/// writes, and for families that are no stack of texts; those of models::census.
Figures figures(const Draft& draft);

/// The blueprint of a draft, without what its file lacks. Errors: those of models::read_blueprint.
models::Blueprint blueprint_of(const Draft& draft);
/// Its tensors, or those of a part of its layers. Errors: those of models::census.
models::Census census_of(const models::Blueprint& b, const Draft& draft);
/// Settles Draft::pooler and Draft::headless by the tensors of a file; `has` is asked for names of the blueprint.
void look_into(Draft& draft, const std::function<bool(const std::string& name)>& has);

/// Keys and values of one sequence of so many tokens in all layers; a layer with a window has room for it twice.
std::uint64_t cache_bytes(const models::Blueprint& b, DType dtype, std::int64_t context);
/// Fills a cache up to so many tokens by keys and values drawn by chance: to a run behind them they are as good as any.
void fill(KvCache& cache, std::int64_t length);

/// Tokens of a sequence in training: the context, at most 512.
std::int64_t train_length(const Draft& draft);
/// Whether this engine trains the family.
bool trains(const Draft& draft);

struct MeasureOptions {
  bool train = true;
  double seconds = 0.2;      ///< about, a figure
  double around = 0.0;       ///< Speeds::around of a draft that differs in heads and groups alone
  std::uint64_t memory = 0;  ///< that drawn weights may take; 0: half of what is free
};

/// Short runs of this engine on weights drawn by chance: a few layers of each kind (so many that their weights fill no
/// cache that the whole model's would not fit into), at an empty cache and at a full one, and what stands on top alone.
/// Layers are then counted, and what lies between an empty and a full cache is taken for a straight line.
/// Cost    a few seconds. Errors: kResources when one layer needs more memory than may be taken.
Speeds measure(const Draft& draft, const MeasureOptions& options = {});

/// Of two measurements of drafts of equal sizes what was disturbed less: the faster one of each figure.
Speeds better(const Speeds& a, const Speeds& b);

/// Where in (heads, groups) a budget is kept.
struct Advice {
  std::optional<std::int64_t> groups;  ///< most that fit at this context; none: not even one
  std::int64_t context =
      0;  ///< longest that fits with the draft's own heads and groups; 0: none does
  DType dtype = DType::kBF16;  ///< of `least`
  std::uint64_t least = 0;  ///< memory of the least that was tried: one group, the smallest dtype
};
/// Errors: those of figures().
Advice advise(const Draft& draft, std::uint64_t budget);

/// The draft with other heads and groups at equal width. Errors: those of models::resized.
Draft with_heads(const Draft& draft, std::int64_t heads, std::optional<std::int64_t> groups);

}  // namespace headscope::architect
