#pragma once

#include <string>
#include <vector>

#include "headscope/model.h"
#include "models/blueprint.h"

namespace headscope::models {

struct PatchFacts;

/// What a Model runs: one stack of layers, or two of which one looks at what the other made of the input.
/// Attentions are numbered as Sight and Edit count layers.
class Network {
 public:
  Network() = default;
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;
  virtual ~Network() = default;

  /// Facts of the stack that the logits come from.
  [[nodiscard]] virtual const Blueprint& blueprint() const = 0;
  /// Facts of the stack that reads the input.
  [[nodiscard]] virtual const Blueprint& reader() const { return blueprint(); }
  /// nullptr unless there are two stacks.
  [[nodiscard]] virtual const PairBlueprint* pair() const { return nullptr; }
  [[nodiscard]] virtual std::size_t layers() const = 0;
  [[nodiscard]] virtual const AttentionFacts& facts(std::size_t layer) const = 0;
  [[nodiscard]] virtual const AttentionWeights& attention(std::size_t layer) const = 0;
  [[nodiscard]] virtual Tensor output_weight(std::size_t layer) const = 0;
  [[nodiscard]] virtual Tensor output_bias(std::size_t layer) const = 0;
  [[nodiscard]] virtual std::int64_t parameters() const = 0;
  /// Whether it foretells the next token.
  [[nodiscard]] virtual bool generates() const = 0;
  /// Whether it runs sequences that lie one behind the other (Tokens::cu_seqlens).
  [[nodiscard]] virtual bool packs() const { return false; }
  /// What Transformers call the weights of an attention: "attentions.3"; some other word where they do not show
  /// them.
  [[nodiscard]] virtual std::string attention_name(std::size_t layer) const {
    return "attentions." + std::to_string(layer);
  }
  /// What people call it.
  [[nodiscard]] virtual std::string layer_name(std::size_t layer) const {
    return std::to_string(layer);
  }
  /// nullptr unless pictures are read.
  [[nodiscard]] virtual const PatchFacts* pictures() const { return nullptr; }
  /// What the keys of sequence b of an attention are. Empty: the tokens of a text.
  [[nodiscard]] virtual std::vector<Label> labels(const Tokens&, std::size_t, std::int64_t) const {
    return {};
  }
  /// What the difference of two tokens' logits reads of the last stream once the final norm has divided it: weights
  /// of the norm times the difference of their rows, [C]. Empty where heads do not add to the stream as they are (norms
  /// behind attention), or where the map on top is not linear. What the norm does first is blueprint().norm.
  [[nodiscard]] virtual Tensor readout(std::int32_t /*right*/, std::int32_t /*wrong*/) const {
    return {};
  }
  /// Whether RunOptions::resume is understood.
  [[nodiscard]] virtual bool resumes() const { return false; }
  [[nodiscard]] virtual KvCache cache(DType dtype, std::int64_t positions) const = 0;
  /// Errors: kRange, kInput, kShape before anything is computed.
  [[nodiscard]] virtual Run run(const Tokens& tokens, const RunOptions& options) const = 0;
};

}  // namespace headscope::models
