#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "headscope/cache.h"
#include "headscope/model.h"
#include "headscope/sampler.h"

/// Text that goes on: prompts are read in blocks, then every sequence grows by a token a step.
namespace headscope {

/// How to generate.
struct GenerateOptions {
  SamplingOptions sampling{};  ///< every sequence draws for itself, with seed + its number
  std::int64_t most = 256;     ///< tokens of an answer
  std::int64_t block = 512;    ///< tokens of a prompt that are read at once
  std::int64_t positions = 0;  ///< tokens that fit, prompt and answer; 0: as the model says
  bool stop_at_end = true;     ///< end an answer where the model says that it ends
  bool slide = false;  ///< when no position is left: forget the middle and go on, see Generator
  DType cache = DType::kF32;  ///< of keys and values: f32, or bf16 for half the memory
  std::vector<Edit> edits{};  ///< made in every step, in prompt and answer
  const Sight* sight =
      nullptr;  ///< record this of every step (one sequence alone); nullptr: nothing
};

/// Why an answer ended.
enum class Ended : std::uint8_t {
  kNot,   ///< it goes on
  kStop,  ///< the model said so
  kMost,  ///< GenerateOptions::most
  kFull,  ///< no position is left
};

/// Sequences that grow together, each with keys and values of its own. The model must outlive it.
/// With GenerateOptions::slide a sequence whose positions are full is read anew: its first token (of
/// encoder-decoders: what answers begin with) and its last tokens, half of the positions in all. What comes next is
/// what a run of these tokens alone foretells.
/// Rotary positions that depend on the length go by the whole prompt; where an answer passes the length at which
/// LongRoPE changes its factors, all is read anew, once.
/// Cost    a run of half of the positions, once every half of the positions.
/// Why     many heads rest on the first token, and without it they break down.
/// Source  Xiao 2023, Efficient Streaming Language Models with Attention Sinks, s3.
class Generator {
 public:
  /// Makes the caches; nothing is computed yet. Errors: kUnsupported (a model whose tokens see those behind
  /// them), kRange (also more positions than a model with a table of them has), kUsage.
  explicit Generator(const Model& model, GenerateOptions options, std::size_t sequences = 1);
  Generator(Generator&&) noexcept = default;
  Generator& operator=(Generator&&) noexcept = default;
  ~Generator() = default;

  /// Sequence n becomes these tokens, a prompt for a new answer. They are read in blocks; what they begin
  /// with as the sequence did so far is kept. Cost  as a run of the others.
  /// Errors: kInput for none or past the positions (says by how much), kRange.
  void read(std::span<const std::int32_t> ids, std::size_t n = 0);
  /// Encoder-decoders: the encoder reads `input` (one sequence: Model::tokens), and sequence n becomes the
  /// beginning of an answer to it; `begin` none: as the model's files say. Later calls of the other read() go on
  /// with the same input. Errors: also kUsage for a model with one stack.
  void read(const Tokens& input, std::span<const std::int32_t> begin = {}, std::size_t n = 0);
  /// The next token of every sequence that was read and has not ended. false: all have.
  bool step();

  [[nodiscard]] std::size_t sequences() const { return sequences_.size(); }
  /// Tokens of the answer since the last read(), without the one that ended it.
  [[nodiscard]] const std::vector<std::int32_t>& answer(std::size_t n = 0) const {
    return sequences_.at(n).answer;
  }
  [[nodiscard]] Ended ended(std::size_t n = 0) const { return sequences_.at(n).ended; }
  /// Logits of the token that comes next, [V]; those that the model's files forbid are -inf. Errors: kUsage before the first read().
  [[nodiscard]] std::span<const float> logits(std::size_t n = 0) const;
  /// What the last step recorded: one row a layer, over all keys so far (of a window: those it keeps).
  [[nodiscard]] const Sighting& sighting() const { return sighting_; }
  /// Tokens that are in, prompt and answer.
  [[nodiscard]] std::int64_t length(std::size_t n = 0) const;
  /// Number, among all tokens that were read and answered, of the token that is now at position i. They differ
  /// once the sequence has slid on.
  [[nodiscard]] std::int64_t number_of(std::int64_t i, std::size_t n = 0) const;
  [[nodiscard]] std::int64_t positions() const { return positions_; }
  /// Memory of keys and values.
  [[nodiscard]] std::size_t bytes() const;

 private:
  struct Sequence {
    KvCache cache;
    std::vector<std::int32_t>
        ids;  ///< read and answered, but what slid out; the last one may not be in the cache
    std::vector<std::int32_t> answer;
    std::optional<Sampler> sampler;
    Tensor logits;
    Ended ended = Ended::kNot;
    std::int64_t forgotten = 0;              ///< tokens behind the first that slid out
    std::int64_t shortest = 0, longest = 0;  ///< lengths that rotary positions of the cache went by
  };
  void advance(std::span<Sequence* const> who,
               const Tensor& ids,
               std::int64_t length,
               const Tokens* input = nullptr);
  void advance_together(std::vector<Sequence*> who);
  [[nodiscard]] bool turns_alike(std::int64_t a, std::int64_t b, bool decoding) const;
  void read_rows(std::span<const std::int32_t> ids, std::size_t n, const Tokens* input);
  void forbid(Sequence& sequence) const;
  void take(Sequence& sequence) const;
  void keep(Sequence& sequence, std::size_t first) const;
  void fill(Sequence& sequence,
            std::span<const std::int32_t> ids,
            std::int64_t length,
            const Tokens* input);
  [[nodiscard]] std::int64_t first_kept() const;
  void slide(Sequence& sequence);
  void turn_anew(Sequence& sequence);

  const Model* model_;
  GenerateOptions options_;
  std::int64_t positions_ = 0;
  std::vector<Sequence> sequences_;
  Sighting sighting_;
};

/// How well a model foresees a text.
struct Foresight {
  std::int64_t tokens = 0;    ///< that were foreseen: all but the first of every window
  double nll = 0.0;           ///< mean of -ln p, nats
  std::vector<float> each{};  ///< -ln p of every one of them
  [[nodiscard]] double perplexity() const;
};
struct ForesightOptions {
  std::span<const Edit> edits{};
  std::int64_t window =
      0;  ///< tokens that are read together; 0: as many as the model has positions
  std::int64_t block = 128;   ///< rows that are run at once
  DType cache = DType::kF32;  ///< of keys and values: f32 or bf16
};
/// Mean surprise over `ids`, read in windows that do not overlap. Cost  as a run of each window with all its logits,
/// a block of rows at a time. Errors: kInput for fewer than two tokens, kUsage for windows of one.
Foresight foresight(const Model& model,
                    std::span<const std::int32_t> ids,
                    const ForesightOptions& options = {});

}  // namespace headscope
