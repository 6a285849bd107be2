#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "headscope/model.h"

/// The doctor asks which head does what and which one is to blame, by looking (Sight) and by changing (Edit).
namespace headscope::doctor {

struct HeadId {
  int layer = 0;
  int head = 0;
  friend auto operator<=>(const HeadId&, const HeadId&) = default;
  /// "3.5"
  [[nodiscard]] std::string name() const;
};

/// Every head of a model in order. With two stacks: of every attention.
std::vector<HeadId> heads_of(const Model& model);

/// Told how much of something long is done; may throw to end it.
using Told = std::function<void(std::int64_t done, std::int64_t of)>;

/// Ids and types of a text once more: a Baseline keeps those it is given.
Tokens copy_of(const Tokens& tokens);

/// One run of one sequence, kept so that any head can be changed without starting anew.
/// Cost  a run, and T * L * (2 C + H Dv) numbers.
class Baseline {
 public:
  /// Errors: kUnsupported for a model of more than one stack; those of Model::run; kInput unless it is one sequence.
  Baseline(const Model& model, Tokens tokens);

  [[nodiscard]] const Model& model() const { return *model_; }
  [[nodiscard]] const Tokens& tokens() const { return tokens_; }
  [[nodiscard]] std::int64_t rows() const { return tokens_.ids.dim(1); }
  [[nodiscard]] int layers() const { return static_cast<int>(attended_.size()); }
  /// [1,T,C] in front of a layer; of the last number: behind the last layer, before the final norm.
  [[nodiscard]] const Tensor& stream(int layer) const { return streams_.at(index(layer)); }
  /// [1,T,C] what the attention of a layer gave.
  [[nodiscard]] const Tensor& attended(int layer) const { return attended_.at(index(layer)); }
  /// [1,T,H*Dv] what its heads found, side by side.
  [[nodiscard]] const Tensor& merged(int layer) const { return merged_.at(index(layer)); }
  /// [T,Dv] what one head found.
  [[nodiscard]] Tensor findings(HeadId head) const;
  /// The whole trace of one layer's attention, run again; with edits of its q, k or v.
  [[nodiscard]] AttentionTrace trace(int layer, std::vector<Edit> edits = {}) const;
  /// n copies of the tokens, for runs that go on with n streams.
  [[nodiscard]] Tokens copies(std::int64_t n) const;

 private:
  static std::size_t index(int layer) { return static_cast<std::size_t>(layer); }

  const Model* model_;
  Tokens tokens_;
  std::vector<Tensor> streams_, attended_, merged_;
};

/// 0 where either is 0. Shapes  [n] both.
double cosine(std::span<const float> a, std::span<const float> b);

/// By what a run is judged.
struct Judge {
  enum class Kind : std::uint8_t {
    kLoss,       ///< mean of -ln p of the tokens that follow, nats
    kChoice,     ///< logit of `right` minus logit of `wrong` at the last token
    kEmbedding,  ///< cosine of the embedding to the baseline's
  };
  Kind kind = Kind::kLoss;
  std::int32_t right = 0, wrong = 0;
};

/// The judgement of each of n streams [n,T,C] behind the last layer.
/// Cost  what stands on top, a few streams at a time. Errors: kUnsupported when the model has no such output.
std::vector<double> judge(const Baseline& base, const Judge& by, const Tensor& streams);
/// Of the baseline itself.
double judge(const Baseline& base, const Judge& by);

/// The judgement of one run for each edit of findings, that edit alone being made.
/// The numbers of full runs, to rounding: the layers below an edit are taken from the baseline, so are the findings of the
/// other heads of its layer; all edits go up together, `most_rows` rows of the stream at a time.
/// Cost  half the layers and what stands on top, an edit; weights are read once for many edits.
std::vector<double> sweep(const Baseline& base,
                          std::span<const Edit> edits,
                          const Judge& by,
                          const Told& told = {},
                          std::int64_t most_rows = 8192);
/// The plain way: a full run an edit. What `sweep` is compared with.
std::vector<double> sweep_plainly(const Baseline& base,
                                  std::span<const Edit> edits,
                                  const Judge& by,
                                  const Told& told = {});

/// One edit of this kind for every head, in order. kReplace: every head's findings in another run of as many tokens
/// (resampling). Errors: kShape.
std::vector<Edit> edit_every_head(const Baseline& base,
                                  Edit::Kind kind,
                                  const Baseline* other = nullptr);

}  // namespace headscope::doctor
