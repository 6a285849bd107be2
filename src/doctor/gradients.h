#pragma once

#include <span>
#include <vector>

#include "doctor/baseline.h"
#include "headscope/train.h"

/// What one backward pass says of every head at once, and how far that is from the truth.
namespace headscope::doctor {

/// A text as a batch whose every row is asked for the token behind it.
train::Batch next_tokens(const Tokens& text);
/// The model once more, as something that has gradients.
/// Errors: kUnsupported (no next token is foretold; more than 500 million parameters; a fact that the tape has no part
/// for, named).
train::Trainee trainee_of(const Model& model);

/// How a judgement changes with every number that a head found.
class Gradients {
 public:
  /// Reads the weights once more, for the tape. Cost  8 bytes a parameter.
  /// Errors: kUnsupported (no next token is foretold; more than 500 million parameters; a fact that the tape has no
  /// part for, named).
  explicit Gradients(const Model& model);

  /// d judge / d findings, [T,H*Dv] of every layer. Cost  three runs; of a choice six.
  /// Errors: kUnsupported for the likeness of embeddings, which is at its top where nothing is edited;
  /// kInput (a single token), kRange (tokens of a choice).
  [[nodiscard]] std::vector<Tensor> of(const Baseline& base, const Judge& by);

 private:
  train::Trainee trainee_;
};

/// The change of the judgement by each edit of findings as its gradients foretell it: sum (z' - z) d judge / d z.
/// For kZero that is -d judge / d gate of the head (Michel 2019), for findings of another run attribution patching.
/// Cost  O(T Dv) an edit.  Source  Michel 2019 s3; Nanda 2023; Syed 2023.
std::vector<double> foretell(const Baseline& base,
                             std::span<const Tensor> gradients,
                             std::span<const Edit> edits);

/// How well estimates agree with exact values of the same heads.
struct Agreement {
  double correlation = 0.0;  ///< Pearson's; 0 where either does not vary
  double largest = 0.0;      ///< largest |estimate - exact|
  std::size_t at = 0;        ///< of which
};
/// Shapes  both [n], n >= 1.
Agreement agreement(std::span<const double> estimates, std::span<const double> exact);

}  // namespace headscope::doctor
