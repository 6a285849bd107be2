#pragma once

/// The front door: everything a program needs to load a model, look into its heads and change them.
#include "headscope/attention.h"
#include "headscope/error.h"
#include "headscope/model.h"
#include "headscope/report.h"
#include "headscope/safetensors.h"
#include "headscope/sighting.h"
#include "headscope/tensor.h"
#include "headscope/threads.h"
#include "headscope/tokenizer.h"
