// nextflow run main.nf --maps 'maps/*.mrc' --shards 4: masks of all maps on several nodes, into one folder
params.maps = 'maps/*.mrc'
params.masks = "${launchDir}/masks"
params.shards = 4
params.recipe = '--threshold 3sigma --dilate 5px --soft-edge 12px'

process shard {
    cpus 8
    errorStrategy 'retry'  // what is done is not done again
    maxRetries 2

    input:
    val number

    output:
    val number

    script:
    """
    cd '${launchDir}'
    gpumask batch '${params.maps}' -o '${params.masks}' --shard ${number}/${params.shards} -j ${task.cpus} ${params.recipe}
    """
}

process merge {
    input:
    val numbers

    output:
    path 'summary.csv'

    script:
    """
    gpumask batch --merge -o '${params.masks}'
    cp '${params.masks}/summary.csv' .
    """
}

workflow {
    Channel.of(1..params.shards) | shard | collect | merge
}
