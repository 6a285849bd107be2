#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "doctor/baseline.h"

/// Activation patching: one piece of a clean run is put into a corrupt one.
namespace headscope::doctor {

/// What is taken from the clean run. For queries, keys and values it is what this one head sees of them: of keys and
/// values that a group shares, only head h sees the clean ones.
enum class Patch : std::uint8_t { kFindings, kQuery, kKey, kValue };

struct Patched {
  HeadId head;
  double measure = 0.0;   ///< of the patched run; NaN where it was only foretold
  double restored = 0.0;  ///< (patched - corrupt) / (clean - corrupt): 0 nothing, 1 all of it
  std::optional<double> foretold;  ///< the same by the gradient alone
};

struct Patching {
  double clean = 0.0, corrupt = 0.0;  ///< the judge's word on both runs
  std::vector<Patched> heads;         ///< in the order of heads_of
};

struct PatchOptions {
  Told told{};
  /// d judge / d findings of the corrupt run (Gradients::of): then the first order of each patch is foretold, too. What a
  /// head finds from clean queries, keys or values is exact there, only what its findings do above is taken as linear.
  const std::vector<Tensor>* slopes = nullptr;
  std::size_t exact =
      SIZE_MAX;  ///< with slopes: so many heads are patched, those that matter most by them
};

/// Every head in turn. Cost  a sweep; for parts other than findings one attention more a layer.
/// Errors: kInput when the two runs do not have the same number of tokens, or when the judge sees no difference.
Patching patch(const Baseline& clean,
               const Baseline& corrupt,
               Patch what,
               const Judge& by,
               const PatchOptions& options = {});

/// Path patching: every head's clean findings, as far as they reach `to` on the direct path through the stream: heads
/// and MLPs between them stay as they are in the corrupt run. What `to` then finds goes on as in any run.
/// Only heads of layers below `to` are listed. Through `by_way` alone: its queries, keys, values, or all three (findings).
/// Cost  one attention of to.layer a head, and one sweep.  Source  Wang 2022 (IOI) s3.1.
Patching patch_path(const Baseline& clean,
                    const Baseline& corrupt,
                    HeadId to,
                    Patch by_way,
                    const Judge& by,
                    const Told& told = {});

/// The first place where two token sequences differ in a way that patching cannot bridge: their lengths.
/// Errors: kInput saying how many tokens each has and the first place where they differ.
void check_aligned(const Model& model, const Tokens& clean, const Tokens& corrupt);

}  // namespace headscope::doctor
