#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "media/moving.h"
#include "train/schedule.h"
#include "train/source.h"
#include "train/trees.h"

/// Recipes: TOML files that say all that a training run depends on.
namespace headscope::train {

enum class Objective {
  kCausal,         ///< "causal": the next token
  kMasked,         ///< "masked": hidden words
  kMaskedEndings,  ///< "masked-endings": hidden endings and words, see Hiding
  kPictures,       ///< "pictures": the class of a picture
  kTunes,          ///< "tunes": the next note
  kTables,         ///< "tables": the next number
  kMoving          ///< "moving": hidden patches of moving pictures
};

struct Recipe {
  std::string name;
  Objective objective = Objective::kCausal;
  std::string
      config;  ///< [model] as the text of a config.json; vocabulary and special tokens are put in later
  std::string code;  ///< [code] as the text of a media.json; "" : tokens are text
  std::string text;  ///< the recipe as it was read
  std::filesystem::path
      from;  ///< a model's folder, whose weights the run begins with; empty: weights by chance

  enum class Words { kStems, kUnigram, kBpe, kFile };
  struct {
    Words kind = Words::kUnigram;
    std::int32_t size = 8000;
    std::filesystem::path file;
  } tokenizer;

  struct {
    std::vector<std::filesystem::path> train, valid, test;
    std::vector<double>
        shares;                 ///< of the windows of a batch, one a file of `train`; they sum to 1
    std::int64_t window = 64;   ///< tokens of a sequence, [CLS] and [SEP] included
    Change change;              ///< of pictures
    double still = 0.0;         ///< share of the steps, at the end, whose pictures are as they are
    int transpose = 0;          ///< tunes: by chance up or down by at most so many semitones
    double held = 0.2;          ///< tables: of each the last rows, kept for validation
    std::int64_t horizon = 32;  ///< tables: numbers to foretell, in validation
    double made = 0.0;  ///< tables, moving: share of windows or clips that are made by chance
    media::MovingOptions moving;
  } data;

  Hiding hiding;
  Teaching teaching;

  struct {
    std::int64_t batch_tokens = 4096;  ///< of a step: whole windows, at least one of each file
    std::int64_t accumulate = 1;       ///< a step's batch is made in so many parts
    std::uint64_t seed = 1;
    float dropout = 0.0F;
    float label_smoothing = 0.0F;
    DType compute =
        DType::kF32;  // of matrix products; kBF16 is faster where the processor multiplies it
    double weight_decay = 0.01;
    bool muon = false;
    double beta1 = 0.9;
    double beta2 = 0.98;
    double clip = 1.0;
  } training;
  Schedule schedule;

  struct {
    double minutes = 5.0;            ///< between checkpoints at most
    std::int64_t steps = 1000;       ///< and at most so many steps
    std::int64_t valid_steps = 500;  ///< between looks at the validation texts
    std::int64_t valid_tokens = 65'536;
  } checkpoint;
};

/// Reads a recipe. Paths of texts are relative to `data` when it is not empty, else to the recipe.
/// Errors: kNotFound, kIo; kFormat with file, line and column for TOML that does not parse, an unknown key, a wrong
/// type or a value out of range, and for a [model] or [code] of which nothing can be made; says what was expected.
Recipe load_recipe(const std::filesystem::path& path, const std::filesystem::path& data = {});
/// The objective of a recipe, whatever else it says; none where it is no recipe.
std::optional<Objective> objective_in(std::string_view toml);
Recipe parse_recipe(std::string_view toml,
                    const std::filesystem::path& path,
                    const std::filesystem::path& data = {});

}  // namespace headscope::train
