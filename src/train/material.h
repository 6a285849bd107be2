#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "train/loop.h"
#include "train/source.h"

/// What a run learns from, made once before its first step.
namespace headscope::train {

struct Material {
  std::unique_ptr<Source> train,
      valid;           ///< valid: nullptr when the recipe names nothing to validate on
  std::string config;  ///< the whole config.json of the model
  /// What makes the numbers of a step besides the recipe: a run goes on only with the same.
  std::string key;
  std::int64_t picture_rows = 0;  ///< rows of a model for one picture; 0: batches hold tokens
  Borders borders;                ///< of texts, for stems
};

using Tell = std::function<void(RunReport::Phase, double part, const std::filesystem::path& file)>;

/// Texts as ids of a tokenizer, which is made and written into the run's folder unless the run goes on.
Material text_material(const Recipe& recipe,
                       const RunOptions& options,
                       bool goes_on,
                       const Tell& tell);

/// Pictures with a class each, from IDX files (which may be packed by gzip); writes preprocessor_config.json into the
/// folder. Errors: kNotFound, kIo; kFormat for a damaged file or one of another kind; kShape when pictures and labels
/// or the model's config do not fit together.
Material picture_material(const Recipe& recipe, const std::filesystem::path& folder);

}  // namespace headscope::train
